"""The schema of a scenario file. Unknown fields and wrong types are errors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.authcache.cache import LIVES_PER_TTL
from harness.authcache.words import ObjectKind
from harness.domain.changes import Way, check_action
from harness.domain.faults import ENTRIES, FAULTS, Balancer, Verdict, fault, fault_name
from harness.domain.series import ALL
from harness.errors import UsageError

ScopeName = Literal["team", "user", "shared_id", "member"]
OwnerName = Literal["key", "user", "team", "membership"]
Cell = Literal["hidden", "broken", "stale", "wasteful", "healthy"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
VariantName = Annotated[str, Field(max_length=200)]
# Beyond these bounds no run makes sense, and sums and products of the fields overflow a float.
Keys = Annotated[int, Field(ge=0, le=100_000)]
TtlSeconds = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
TimeScale = Annotated[float, Field(ge=0.001, le=1_000, allow_inf_nan=False)]
RatePerS = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Replies = Annotated[int, Field(ge=1, le=1_000_000)]
Weight = Annotated[float, Field(ge=0.001, le=1_000_000, allow_inf_nan=False)]
UpToAnHour = Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Population(_Table):
    """Number of keys by scope, and the kind of their membership rows."""

    team: Keys = 0
    user: Keys = 0
    shared_id: Keys = 0
    member: Keys = 0
    member_row: Literal["budget", "cleared", "none"] = "budget"
    shared_id_row: Literal["budget", "cleared", "none"] = "budget"
    budgets: dict[ScopeName, dict[OwnerName, Replies]] = {}
    """Budgets within reach, in replies, by scope and owner. All others are out of reach."""
    share_every: int = Field(0, ge=0, le=100_000)
    """Every so many keys of a scope, one shares owners with the key before it
    (`harness.domain.population.make_population`); 0 for none."""

    def counts(self) -> dict[str, int]:
        """Keys by scope, scopes without keys left out."""
        scopes: tuple[ScopeName, ...] = ("team", "user", "shared_id", "member")
        return {scope: n for scope in scopes if (n := getattr(self, scope)) > 0}

    def replies(self, scope: str) -> dict[str, int]:
        """Budgets within reach of the keys of a scope, in replies, by owner."""
        return {
            owner: n
            for name, owners in self.budgets.items()
            if name == scope
            for owner, n in owners.items()
        }

    @model_validator(mode="after")
    def _owners_exist(self) -> Population:
        for scope, owners in self.budgets.items():
            row = self.member_row if scope == "member" else self.shared_id_row
            has = {
                "key": True,
                "user": scope != "team",
                "team": scope != "user",
                "membership": scope in ("member", "shared_id") and row == "budget",
            }
            if missing := [owner for owner in owners if not has[owner]]:
                raise ValueError(f"budgets: keys of scope {scope} have no {', '.join(missing)}")
        return self


class Load(_Table):
    """How requests arrive. Durations are in TTLs, so that they scale with it."""

    model: Literal["open", "closed"] = "open"
    rate_per_s: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.0
    """Open model: arrivals per second over all scopes. It does not scale with time."""
    arrivals: Literal["poisson", "regular"] = "poisson"
    """Open model: at random, as production has them, or each key at equal distances. Two variants
    differ by chance more under the first: how many requests miss together is chance."""
    users: int = Field(64, ge=1, le=2000)
    ramp_s: UpToAnHour = 0.0
    """Closed model; scales with time."""
    mix: dict[ScopeName, Weight] = Field(min_length=1)
    key_weights: list[Weight] = [1.0, 4.0]
    """Weights of a scope's keys in order, over and over: some are requested more often than others,
    so that a run shows whether source reads grow with requests. Empty for equal weights."""
    zipf: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    """Popularity of the keys of a scope: the k-th has weight 1 / k ** zipf; 0: all alike."""
    cold_fill: bool = True
    """Measure the first TTL on cold caches as a phase of its own."""
    warmup_ttls: int = Field(2, ge=0, le=10)
    """Least length of the load before a window; each round adds a random part of a TTL to it, so
    that no window begins at a phase of the caches that the load itself has set. 0 for no warm-up.
    """
    window_ttls: int = Field(5, ge=3, le=100)
    """At least 3: a shorter window holds hardly any time between two reads of one object."""
    checkpoints_ttls: list[int] = []
    """Moments within a window at which pg_stat_statements is read as well."""
    timeout_s: Annotated[UpToAnHour, Field(gt=0)] = 10.0

    @model_validator(mode="after")
    def _check(self) -> Load:
        if self.model == "open" and self.rate_per_s <= 0:
            raise ValueError("an open load needs rate_per_s > 0")
        if self.model == "closed" and self.rate_per_s:
            raise ValueError("a closed load has no rate_per_s: its users set the pace")
        if self.model == "closed" and self.arrivals == "regular":
            raise ValueError("a closed load has no arrivals of its own: its users set the pace")
        if any(not 0 < c <= self.window_ttls for c in self.checkpoints_ttls):
            raise ValueError("checkpoints_ttls must lie within the window")
        return self


class MockModelSettings(_Table):
    """The mock model behind the proxy."""

    latency_ms: Annotated[float, Field(ge=0, le=3_600_000, allow_inf_nan=False)] = 0.0
    completion_tokens: int = Field(20, ge=1, le=4096)
    cost_micro: int = Field(250, ge=0, le=1_000_000_000)


class Premises(_Table):
    """What the scenario plants that the real software does not do."""

    null_user_for_team_keys: bool = False
    source_latency_ms: Annotated[float, Field(ge=0, le=3_600_000, allow_inf_nan=False)] = 0.0
    """How much longer each read of an object from Postgres takes; scales with time. For the
    reference proxy only."""
    ttl_times: dict[VariantName, Positive] = {}
    """Factor on the TTL of a variant's fleet, which everything else takes for unchanged."""


class Change(_Table):
    """An action on a key of its own, or on an object behind it, while the key is probed."""

    action: str
    """A name in `harness.domain.changes.ACTIONS`."""
    scope: ScopeName
    way: Way = "api"
    handler: Annotated[int, Field(ge=0)] | Literal["random"] = "random"
    """Index of the replica that takes the call; ``random`` draws it from the seed."""
    at_ttls: NonNegative | None = None
    """Moment within the window; left out, it is drawn from the seed within the spread."""
    rate_per_ttl: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] | None = None
    """Instead of one change so many a TTL over the spread, each on a key of its own."""
    idle_ttls: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    """Do not probe the key regularly: ask each worker for it shortly before the change, then no
    worker, and so many TTLs after the change one, once."""
    idle_asks: Literal["handler", "others"] = "others"
    """Which replica that one belongs to: the one that takes the call, or another."""
    batch: int = Field(1, ge=1, le=100)
    """Each batch of changes has a window of its own."""

    @model_validator(mode="after")
    def _check(self) -> Change:
        try:
            check_action(self.action, self.scope)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if self.at_ttls is not None and self.rate_per_ttl is not None:
            raise ValueError("at_ttls is of one change and rate_per_ttl of several: give one")
        return self


class ChangeWindow(_Table):
    """The windows in which changes are made: lead, spread, promise and tail, in TTLs.

    In a window the keys to be changed are probed regularly on every worker, and nothing else is
    requested.
    """

    probes_per_ttl: int = Field(8, ge=1, le=1_000)
    """Of each key on each worker, at most: no whole number of them is in a TTL
    (`harness.scenario.sizing.off_beat`). The distance of two probes is how exactly a clock reads.
    They are fewer where all probes together would exceed an open load's rate."""
    lead_ttls: Annotated[float, Field(ge=0.25, le=100, allow_inf_nan=False)] = 1.0
    """Before the first change, so that every worker has an old answer."""
    spread_ttls: Annotated[float, Field(ge=0.25, le=100, allow_inf_nan=False)] = 1.0
    """In which changes are made, so that they meet entries of every age."""
    tail_ttls: Annotated[float, Field(ge=0.25, le=100, allow_inf_nan=False)] = 1.0
    """After the promise of the last change: answers that come here and are old are stale."""
    alone: bool = False
    """Drive no other window: no cold fill, no measured window, no refusals."""
    batch_max: int = Field(12, ge=1, le=1_000)
    """Most keys that one window changes. More of them would evict one another from memory, which
    makes a release forget in time what it would have kept."""

    @property
    def last_ttls(self) -> float:
        """Until when changes are made, from the start of a window."""
        return self.lead_ttls + self.spread_ttls

    @property
    def watched_ttls(self) -> float:
        """How long the last change of a window is watched."""
        return PROMISE_TTLS + self.tail_ttls

    @property
    def window_ttls(self) -> float:
        """Length of a window. The promise counts as that of two tiers, the same for all."""
        return self.last_ttls + self.watched_ttls


PROMISE_TTLS = 2
"""One TTL in memory and one in Redis."""


class FaultEntry(_Table):
    """A fault. Times are in s, and do not scale: neither do the time-outs that they meet."""

    what: str
    """A name in `harness.domain.faults.FAULTS`."""
    for_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)]
    """How long it lasts; of one that happens at one moment, how long it is watched."""
    at_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] | None = None
    """When it begins within its window; left out, after `FaultWindow.lead_s`."""
    replica: Annotated[int, Field(ge=0)] = 0
    """Index of the replica that it works on, where it works on one."""
    delay_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)] = 0.0
    """Of faults that slow something down."""
    jitter_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)] = 0.0
    skew_s: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] = 0.0
    """Of ``replica-clock``."""
    entry: str = "other_type"
    """Of ``redis-poison``: one of `harness.domain.faults.ENTRIES`."""
    new_after_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 0.0
    """Of a replica that ends: how long after its end a new one is started."""

    @model_validator(mode="after")
    def _check(self) -> FaultEntry:
        try:
            fault(self.what)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if self.entry not in ENTRIES:
            raise ValueError(f"entry [{self.entry}] is none of {', '.join(ENTRIES)}")
        if self.what.endswith("-slow") and not self.delay_ms:
            raise ValueError(f"{self.what} needs delay_ms > 0")
        if self.what == "replica-clock" and not self.skew_s:
            raise ValueError("replica-clock needs skew_s, above or below 0")
        return self


class FaultChange(_Table):
    """A change that is made in the middle of every fault, on a key of its own."""

    action: str
    """A name in `harness.domain.changes.ACTIONS`."""
    scope: ScopeName

    @model_validator(mode="after")
    def _check(self) -> FaultChange:
        try:
            check_action(self.action, self.scope)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self


class FaultWindow(_Table):
    """The windows of faults: lead, fault and tail, in s, under the ordinary open load.

    Each fault has a window of its own for every variant, and one of recovery after it.
    """

    lead_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 4.0
    """Load before the fault."""
    tail_s: Annotated[float, Field(ge=3, le=600, allow_inf_nan=False)] = 10.0
    """Load after the fault, in which recovery is seen: at least the three good seconds of it."""
    start_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 3.0
    """How long a replica takes to start; longer by that is the window of a fault that replaces one.
    """
    window_s: Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)] | None = None
    """Length of every such window; left out, as long as its parts."""
    recovered_ttls: int = Field(2, ge=2, le=100)
    """Length of the window of recovery, in which the ledger balances to the unit again."""
    alone: bool = False
    """Drive no other window: no cold fill, no measured window, no changes, no refusals."""
    balancer: Balancer = "blind"
    """How a load balancer treats a replica that is gone or hangs."""
    probe_after_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 2.0
    """Of a ``probed`` one: after how long without an answer it drops a replica."""
    changes: list[FaultChange] = []
    """Made in the middle of each fault, on keys that are probed beside the load."""
    probes_per_s: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.0
    """Of each such key, and of each key that must be refused, on each replica. They are fewer where
    all probes together would exceed half of the load's rate."""
    rest_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 60.0
    """How long the fleet may take to come to rest after the load."""
    latency_ms_max: Positive = 1_000.0
    """Greatest latency of an answer beyond which a variant is ``degraded``."""
    error_share_max: Annotated[float, Field(ge=0, le=1)] = 0.001
    """So is one with a greater share of errors,"""
    stampede_max: Positive = 2.0
    """or with more than so many times the source reads of a correct cache in one second."""
    recovery_s_max: Positive = 5.0
    """Time from the fault's end to the first of three seconds in a row that are good: each has an
    answer 2xx in time, and no error."""


class RunLimits(_Table):
    """Limits beyond which a run is invalid."""

    late_ms: Positive = 250.0
    late_share_max: NonNegative = 0.01
    """Of the requests of any one window."""
    late_median_ms: Positive = 50.0
    """Greatest median delay of any one window."""
    sent_share_min: Annotated[float, Field(ge=0, le=1)] = 0.98
    bad_share_max: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of bad replies that must be ruled out before a cell is healthy, or before something
    that must never happen counts as absent. It decides how many requests that takes."""
    min_requests_per_object: NonNegative = 20.0
    """Requests per TTL for the objects of each scope's least requested key."""


class WithReleases(_Table):
    """What a scenario changes where a LiteLLM release takes part.

    A release's proxy sustains a fraction of the reference proxy's load, so all variants of such a
    run are driven more slowly, with fewer keys, and times are not scaled.
    """

    replicas: int | None = Field(None, ge=1, le=64)
    workers: int | None = Field(None, ge=1, le=16)
    ttl_s: TtlSeconds | None = None
    rounds: int | None = Field(None, ge=1, le=100)
    rounds_max: int | None = Field(None, ge=1, le=100)
    rate_per_s: RatePerS | None = None
    users: int | None = Field(None, ge=1, le=2000)
    window_ttls: int | None = Field(None, ge=3, le=100)
    keys: dict[ScopeName, Keys] = {}
    """Keys by scope, instead of the population's."""
    start_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] | None = None
    """Instead of `FaultWindow.start_s`: a release takes longer to start."""
    management_ttl: bool = False
    """Set a release's variable DEFAULT_MANAGEMENT_OBJECT_IN_MEMORY_CACHE_TTL to the TTL too. Before
    1.91 it alone gives the TTL of keys, users and teams, which is 60 s without it."""


class _Expectation(_Table):
    variant: VariantName
    """A variant's name, or releases as ``litellm>=1.89``."""
    scope: ScopeName | Literal["all"] = "all"
    premises: Literal["any", "on", "off"] = "any"
    """Whether it applies with the scenario's premises planted, without them, or both."""


class CellExpectation(_Expectation):
    """A cell of a variant and scope."""

    kind: Literal["cell"]
    is_: Cell | None = Field(None, alias="is")
    """The worst of the cells that apply."""
    has: Cell | None = None
    """One of the cells that apply, whatever else does."""

    @model_validator(mode="after")
    def _needs_scope(self) -> CellExpectation:
        if (self.is_ is None) == (self.has is None):
            raise ValueError("a cell expectation needs either `is` or `has`")
        if self.scope == ALL:
            raise ValueError("a cell expectation needs a scope")
        return self


Metric = Literal[
    "source_reads_per_1000",
    "source_reads_over_reference_line",
    "log_pairs_per_1000",
    "wrong_values",
    "deserialize_failures_per_1000",
    "entry_age_max_s",
    "ttl_kept",
    "reads_per_object_and_ttl",
    "overshoot",
    "overshoot_beyond_open",
    "memory_hit_share",
    "service_p50_ms",
    "handler_s_max",
    "others_s_max",
    "stale_replies",
]


class LimitExpectation(_Expectation):
    """A figure of one variant and scope between two bounds."""

    kind: Literal["limit"]
    metric: Metric
    object: ObjectKind | None = None
    """Only this object's, for source reads and wrong values."""
    min: Finite | None = None
    max: Finite | None = None
    """Of a time in seconds, both are at time_scale 1 and scale with it."""

    @model_validator(mode="after")
    def _needs_bound(self) -> LimitExpectation:
        if self.min is None and self.max is None:
            raise ValueError("a limit expectation needs min, max or both")
        if self.metric == "entry_age_max_s" and (self.scope != ALL or self.object is not None):
            raise ValueError("entry_age_max_s is of all scopes and objects: leave both out")
        return self


class RatioExpectation(_Expectation):
    """A figure of one variant over the same figure of another."""

    kind: Literal["ratio"]
    metric: Metric
    to: VariantName
    max: Finite


class FaultExpectation(_Expectation):
    """What faults may do to a variant, whatever the scope of the keys."""

    kind: Literal["fault"]
    fault: str = ALL
    """One by its name in the result, or all of the run."""
    but: list[str] = []
    """Of all, these are left out."""
    is_: Verdict | None = Field(None, alias="is")
    """The verdict."""
    never: list[Verdict] = []
    """None of these verdicts."""
    stampede_max: NonNegative | None = None
    """Most source reads in a second, in those of a correct cache."""
    recovery_s_max: NonNegative | None = None
    """Longest time to recover, in s; it does not scale."""
    spend_lost_micro_max: NonNegative | None = None
    """Most spend that no row has, in millionths of a US dollar."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> FaultExpectation:
        limits = (self.stampede_max, self.recovery_s_max, self.spend_lost_micro_max)
        if self.is_ is None and not self.never and all(limit is None for limit in limits):
            raise ValueError(
                "a fault expectation asks for nothing: give `is`, `never`, stampede_max, "
                "recovery_s_max or spend_lost_micro_max"
            )
        if self.scope != ALL:
            raise ValueError("a fault is of all scopes: leave scope out")
        if self.but and self.fault != ALL:
            raise ValueError(f"but leaves faults out of all, and fault is [{self.fault}]")
        return self

    @property
    def of(self) -> list[str]:
        """The faults that it names."""
        return self.but if self.fault == ALL else [self.fault]


Expectation = Annotated[
    CellExpectation | LimitExpectation | RatioExpectation | FaultExpectation,
    Field(discriminator="kind"),
]


class Scenario(_Table):
    """Population, premises, load, durations and expectations of a run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)
    title: str
    description: str = ""
    replicas: int = Field(8, ge=1, le=64)
    workers: int = Field(1, ge=1, le=16)
    ttl_s: TtlSeconds
    time_scale: TimeScale = 1.0
    rounds: int = Field(3, ge=1, le=100)
    rounds_max: int | None = Field(None, ge=1, le=100)
    """Most rounds: while an expectation is undecided after ``rounds``, another round follows."""
    seed: int = Field(42, ge=-(2**63), lt=2**63)
    variants: list[VariantName] = Field(min_length=1)
    report: Literal["matrix", "pr-table"] = "matrix"
    """``pr-table`` adds the table of PR #26202: combined-view calls by window."""
    population: Population
    load: Load
    mock: MockModelSettings = MockModelSettings()
    premises: Premises = Premises()
    change: list[Change] = []
    changes: ChangeWindow = ChangeWindow()
    fault: list[FaultEntry] = []
    faults: FaultWindow = FaultWindow()
    limits: RunLimits = RunLimits()
    with_releases: WithReleases = WithReleases()
    expect: list[Expectation] = []

    @model_validator(mode="after")
    def _scopes_have_keys(self) -> Scenario:
        missing = [s for s in self.load.mix if s not in self.population.counts()]
        if missing:
            raise ValueError(f"load.mix drives scopes without keys: {', '.join(missing)}")
        if self.rounds_max is not None and self.rounds_max < self.rounds:
            raise ValueError(
                f"rounds_max [{self.rounds_max}] must be at least rounds [{self.rounds}]"
            )
        return self

    @model_validator(mode="after")
    def _changes_fit(self) -> Scenario:
        window = self.changes
        if window.alone and not self.change:
            raise ValueError("changes.alone leaves nothing to drive: add a [[change]]")
        for number, change in enumerate(self.change, start=1):
            name = f"change {number}, {change.action}"
            if change.at_ttls is not None and change.at_ttls > window.last_ttls:
                raise ValueError(
                    f"{name}: at_ttls [{change.at_ttls:g}] lies outside the window: changes are "
                    f"made in its first {window.last_ttls:g} TTLs (lead_ttls + spread_ttls), so "
                    "that what follows can be seen; give less, or raise changes.spread_ttls"
                )
            if change.idle_ttls is not None and change.idle_ttls > window.watched_ttls:
                raise ValueError(
                    f"{name}: idle_ttls is [{change.idle_ttls:g}], and changes are watched for "
                    f"{window.watched_ttls:g} TTLs; give less, or raise changes.tail_ttls"
                )
            if change.handler != "random" and change.handler >= self.replicas:
                raise ValueError(
                    f"{name}: handler is [{change.handler}], and replicas are numbered from 0 to "
                    f"{self.replicas - 1}; give one of them, or random"
                )
        for batch in self.batches():
            count = sum(self.copies(change) for change in self.change if change.batch == batch)
            if count > window.batch_max:
                raise ValueError(
                    f"batch {batch} changes [{count}] keys, and a window takes at most "
                    f"{window.batch_max}: more would evict one another; give some of the changes "
                    f"another batch (batch = {max(self.batches()) + 1}), which gets a window of "
                    "its own"
                )
        return self

    @model_validator(mode="after")
    def _faults_fit(self) -> Scenario:
        if self.fault and self.load.model != "open":
            raise ValueError(
                "a fault needs an open load: in a closed one a caller that waits sends nothing"
            )
        if self.faults.alone and not self.fault:
            raise ValueError("faults.alone drives nothing else, and there is no [[fault]]: add one")
        if any(self.faults.changes) and not self.fault:
            raise ValueError("faults.changes are made during faults, and there is no [[fault]]")
        if missing := {c.scope for c in self.faults.changes} - {*self.load.mix}:
            raise ValueError(
                f"faults.changes are of scopes that load.mix leaves out: {', '.join(missing)}"
            )
        for one in self.fault:
            if one.replica >= self.replicas:
                raise ValueError(
                    f"fault {one.what}: replica [{one.replica}] does not exist; {self.replicas} "
                    "are started, numbered from 0"
                )
            if FAULTS[one.what].replaces == "one" and self.replicas == 1:
                raise ValueError(f"fault {one.what} needs a second replica, which stays up")
        known = [fault_name(one.what, one.entry) for one in self.fault]
        for name in (name for e in self.expect if isinstance(e, FaultExpectation) for name in e.of):
            if name not in known:
                raise ValueError(
                    f"[[expect]] is about the fault [{name}], which the scenario does not have; it "
                    f"has {', '.join(known) or 'none'}"
                )
        return self

    def batches(self) -> list[int]:
        """The batches of changes, each a window for every variant."""
        return sorted({change.batch for change in self.change})

    def copies(self, change: Change) -> int:
        """How many keys a change is made on."""
        if change.rate_per_ttl is None:
            return 1
        return max(1, round(change.rate_per_ttl * self.changes.spread_ttls))

    @model_validator(mode="after")
    def _source_is_quicker_than_ttl(self) -> Scenario:
        # Older at its birth than that, an entry says more about the source than about the cache.
        least_s = LIVES_PER_TTL * self.premises.source_latency_ms / 1000
        if self.ttl_s < least_s:
            raise ValueError(
                f"ttl_s is [{self.ttl_s:g}], and premises.source_latency_ms is "
                f"[{self.premises.source_latency_ms:g}]: a TTL lasts at least "
                f"{LIVES_PER_TTL} source reads; raise ttl_s to {least_s:g} or lower the latency"
            )
        return self

    @property
    def looks(self) -> int:
        """How often the run may look whether it can stop: after ``rounds``, then each round."""
        return 1 + (self.rounds_max or self.rounds) - self.rounds

    @model_validator(mode="after")
    def _budgets_are_counted(self) -> Scenario:
        if self.population.budgets and self.load.warmup_ttls:
            raise ValueError(
                "population.budgets needs load.warmup_ttls = 0: a warm-up keeps no samples, so "
                "what it admits would not be counted"
            )
        if self.population.budgets and not self.mock.cost_micro:
            raise ValueError("population.budgets needs mock.cost_micro > 0")
        return self
