"""The schema of ``result.json``, version 2.

`make docs` writes docs/result-schema.md and docs/result.schema.json from the models here: from
their names, types and docstrings.

Per 1,000 means per 1,000 answered requests of that scope, whatever their status. A scope that
had no request is absent, not 0. A count that is None was not seen. Figures and counts are of all
measured windows together: a rate is a ratio of sums, never a median of ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from harness.domain.faults import Verdict
from harness.domain.series import (
    ActionName,
    AgeName,
    CodecOp,
    ErrorKind,
    FaultName,
    Group,
    ObjectName,
    OutcomeName,
    PointName,
    RefusalName,
    Scope,
    ScopeOrAll,
    SignatureName,
    Stage,
    Status,
    Switch,
    TierName,
    VariantName,
)

SCHEMA_VERSION = 2

Phase = Literal["cold_fill", "measured", "refusals", "changes", "faults", "recovered"]
"""Purpose of a window; ``recovered`` comes after each fault."""

Cell = Literal["hidden", "broken", "stale", "wasteful", "healthy"]
"""The worst first."""

State = Literal["holds", "fails", "undecided"]
"""Of an expectation."""

Ended = Literal[
    "evicted", "message", "re-read", "expiry", "open", "not_checked", "at once", "before expiry"
]
"""How old answers ended, see `WorkerClock.ended_by`. The last two are in older runs alone."""
"""How a copy that was no longer true came to its end, the last one to do so."""

FRESHNESS = "freshness"
"""What a run without changes does not test, in ``not_tested``."""


def _listed(cells: object) -> object:
    """Runs of before 0025 have one cell for each scope."""
    if isinstance(cells, dict):
        return {scope: [c] if isinstance(c, str) else c for scope, c in cells.items()}
    return cells


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Range(_Part):
    """A figure by round: median and range over the rounds of one variant."""

    median: float
    """Median over the rounds; the figure itself is that of all rounds together."""
    min: float
    """Least."""
    max: float
    """Greatest."""
    rounds: int
    """Number of rounds; reports print no range for a single one."""


class Estimate(_Part):
    """An estimate with bounds, each wrong with the chance ``bound_error`` of its run, or less."""

    value: float
    """The estimate."""
    low: float | None
    """Lower bound; null where there is none."""
    high: float | None
    """Upper bound; null where there is none."""
    n: int
    """What it rests on: intervals, keys or reads, as the field says."""


class Percentiles(_Part):
    """Percentiles of one latency, in ms. One with fewer than ten samples beyond it is null."""

    p50: float | None
    """Median."""
    p95: float | None
    """95th percentile."""
    p99: float | None
    """99th percentile."""


class Latency(_Part):
    """Latency of all answered requests."""

    from_intended: Percentiles
    """From the request's intended start; in a closed load the same as ``service``."""
    service: Percentiles
    """From its actual start."""
    samples: int
    """Answered requests, without the first of each connection."""
    first_of_connection: int = 0
    """Answered requests that opened their connection: they are in no percentile."""


class Window(_Part):
    """One measured stretch of one fleet."""

    name: str
    """Unique in the run; also names its samples and snapshots."""
    variant: str
    """Variant of the fleet."""
    phase: Phase
    """Purpose of the stretch."""
    round: int
    """Number of the round, from 1; 0 for the cold fill and the window of refusals."""
    started_s: float
    """Seconds since the start of the run."""
    duration_s: float
    """Length: whole TTLs; of a window of refusals one TTL at most."""
    requests: dict[Scope, dict[Status, int]]
    """Answered requests; scopes without requests are absent."""
    source_reads: dict[Scope, dict[ObjectName, int]] | None
    """Queries to Postgres for an object; null where they were not seen."""
    source_reads_per_1000: dict[ScopeOrAll, float]
    """The same per 1,000 answered requests; scopes without requests, or not seen, are absent."""
    lookups: dict[TierName, dict[OutcomeName, int]]
    """Lookups; tiers without lookups are absent. Empty where they were not seen."""
    log_pairs: dict[Scope, int] | None
    """Log pairs; null where they were not seen."""
    statements: dict[str, int] | None = None
    """Calls of every statement of the fleet's role, by verb, table and WHERE; null where Postgres
    does not count them."""


class CombinedViewRow(_Part):
    """A row of PR #26202's table: the combined view since the start of the window.

    The combined view is the statement that reads a key object. Rows are cumulative: the longer
    window of a variant contains the shorter. Reports check the arithmetic of this table:
    ``avg_ms`` must be ``total_ms / calls``, a longer window must hold at least what it contains,
    more calls take more time, and a point query returns at most one row a call.
    """

    variant: str
    """Variant of the Postgres role."""
    window_s: float
    """Time since the start of the window."""
    calls: int
    """Calls of the statement, from ``pg_stat_statements``."""
    total_ms: float
    """Execution time of all calls."""
    avg_ms: float
    """Execution time of one call; 0 without calls."""
    rows: int
    """Rows returned."""
    expected_calls: float | None
    """Of this variant. Without Redis replicas x workers x keys x ``window_s`` / TTL; with it keys x
    ``window_s`` / TTL, or one read for each key where requests write the key back before it
    expires. None where no formula holds: a release, or a cache that refreshes or evicts early."""


class OwnerBudget(_Part):
    """What the budget of one owner let through, over all windows of a variant."""

    owner: ObjectName
    """Kind of the owner."""
    scope: Scope
    """Scope of its keys."""
    keys: list[int]
    """Indices of its keys in the population."""
    affordable: int
    """Replies that the budget allows."""
    admitted: int
    """2xx replies to its keys."""
    refused: int
    """Its keys' other answers."""
    open_at_once: int
    """The greatest number of its keys' requests that were under way at the same moment, from the
    raw samples."""

    @property
    def overshoot(self) -> int:
        """Replies beyond the budget; negative where the requests did not use it up."""
        return self.admitted - self.affordable


class RefusalResult(_Part):
    """Answers to the keys of one kind and scope in the window of refusals."""

    expected: int
    """The status that Postgres' state calls for, as the target answers."""
    answers: dict[Status, int]
    """Answers by status."""


class Clock(_Part):
    """How long after the answer to a change old answers were given, in s: the greatest of several.

    Bounds of an interval: the change reached the worker between the two.
    """

    low: float
    """Start of the last request with an old answer; 0 where none was sent after the change."""
    high: float | None
    """Start of the first request with a new answer and no old one after it; null where old
    answers had not ended with the window."""
    pairs: int
    """Changes times workers that it rests on."""
    open: int = 0
    """Those whose old answers had not ended with the window."""
    p50: float | None = None
    """Median of ``low`` over the pairs; null with fewer than ten beyond it, or where it is open."""
    p99: float | None = None
    """99th percentile, likewise."""

    @property
    def longest(self) -> float:
        """By what clocks are ranked: an open one is longer than any other."""
        return math.inf if self.high is None else self.high


class WorkerClock(_Part):
    """One worker after one change. Times are seconds after the answer to the change."""

    change: int
    """Number of the change in its window."""
    worker: str
    """As its replies name it; the replica's index where they do not."""
    handler: bool
    """Whether it took the change."""
    low: float
    """As `Clock.low`."""
    high: float | None
    """As `Clock.high`."""
    ended_by: Ended
    """``evicted``: the handler dropped its copy; ``message``: the worker heard of the change and
    dropped it; ``re-read``: it went younger than a TTL without either; ``expiry``: it was older;
    ``open``: it had not gone; ``not_checked``: how it went cannot be seen. In older runs ``at
    once``: within one probe's time, and ``before expiry``: younger than a TTL."""
    old_replies: int
    """Replies with an old answer, sent after the change was answered."""
    resurrected: int
    """Those of them sent after the same worker had given a new answer."""

    @property
    def longest(self) -> float:
        """As `Clock.longest`."""
        return math.inf if self.high is None else self.high


class AgeShare(_Part):
    """Replies that were sent within one range of time after changes."""

    replies: int
    """Those that tell the versions apart."""
    right: int
    """Those of them with the new answer."""


class IdleAnswer(_Part):
    """What one worker served of an object that had not been asked for since before its change."""

    change: int
    """As `WorkerClock.change`."""
    worker: str
    """As `WorkerClock.worker`."""
    handler: bool
    """As `WorkerClock.handler`."""
    due_s: float
    """When it was to be asked, in seconds after the change was to be sent."""
    after_s: float
    """When it was: start of the request, in seconds after the answer to the change."""
    old: bool
    """Whether it got an old answer."""


class Idle(_Part):
    """Idle objects: each is asked for once after its change, of one worker.

    A request refreshes copies, so the keys of others are clones, each with owners of its own. A
    worker that was not seen with an old copy before the change is left out.
    """

    handler_s: Clock | None
    """Of the workers that took the change: from the last moment at which one had an old answer to
    the first moment after it at which one had a new one; ``high`` is null where none had."""
    others_s: Clock | None
    """The same of all other workers."""
    answers: list[IdleAnswer]
    """One for each clone whose worker had an old answer before the change."""


class ChangeCost(_Part):
    """What a variant's windows of changes cost: probes, changes, and the news of them.

    Postgres and Redis counted it. Keys are few and each is asked for on every worker, so the
    figures compare variants of one run and say nothing about a load.
    """

    requests: int
    """Answered by the replicas, without the changes themselves."""
    source_reads_per_1000: float | None
    """Reads of objects that Postgres ran, per 1,000 requests; null where it counts none."""
    redis_commands_per_1000: float | None
    """Commands about data that Redis ran, those in scripts too, likewise."""
    payload_bytes: dict[ObjectName, float]
    """Mean size of what was written to Redis, by object."""


class Freshness(_Part):
    """How long the workers of a variant served what a kind of change had made untrue."""

    outcome: Literal["done", "committed", "refused", "not_there", "not_told_apart"]
    """``done``; ``committed``: Postgres holds it, and the answer was an error; ``refused``:
    Postgres does not hold it; ``not_there``: the release has no such action; ``not_told_apart``:
    the versions before and after have the same status and digests. Of several changes the first
    of them that has a clock, or the first."""
    detail: str = ""
    """The answer, where it was an error."""
    changes: int
    """Changes that were made."""
    committed: dict[Status, int] = {}
    """Those of them that were answered with an error, by its status; 0 is no answer."""
    untimed: int = 0
    """Changes of keys in use after which no worker was measured, or, in a fleet of several, none
    but the one that took the change; 0 in runs from before it was counted."""
    handler_untimed: int = 0
    """Changes of keys in use after which the worker that took them was not measured."""
    handler_s: Clock | None
    """Of the worker that took the change; null where it was not measured, as after an edit by SQL.
    A worker is measured if it gave an old answer, before the change or after it, and then, after
    the change, any that tells the versions apart."""
    others_s: Clock | None
    """The greatest of all other workers."""
    promise_s: float
    """How old an answer may be by what the operator set: memory TTL, Redis TTL and one read."""
    kept_by_code_s: float | None = None
    """The same with the times that the code sets itself; null where they are not known."""
    ended_by: Ended | None
    """Of the worker that took longest; null without a clock."""
    workers: list[WorkerClock]
    """Every change and worker that was measured."""
    old_replies: int
    """Replies with an old answer, sent after the change was answered, by any worker."""
    old_cost_micro: int
    """Their cost, in millionths of a US dollar."""
    resurrected: int
    """Old answers of workers that had given a new one before."""
    stale_replies: int
    """Replies that were right only longer ago than the promise."""
    judged_replies: int
    """Replies sent longer after the change than the promise: those that could be stale."""
    told_by_code: bool | None = None
    """Whether other workers hear of the change before they read again, by a reading of the code;
    null where it is not known, after an edit by SQL, and where a balancer chose the handler."""
    idle: Idle | None = None
    """The same of idle objects; null where none were changed."""
    right_by_age: dict[AgeName, AgeShare] = {}
    """Replies by the time since the change was answered, with an old or a new answer, in ranges
    that end at 1 s, one TTL, the promise and the window's end."""


class FaultSecond(_Part):
    """One second of a window with a fault."""

    second: int
    """Since the start of the window. A request counts in the second in which it was due."""
    ok: int
    """Requests that got the right status in time."""
    late: int
    """Requests that got it later than a second after they were due."""
    errors: int
    """Requests with no answer, or with one that no version of Postgres' state called for."""
    reads: int
    """Source reads; those of a release, which logs none, are those that its replies name."""
    latency_max_ms: float
    """The longest that a caller waited, from when its request was due to its end; 0 without one."""


class FaultResult(_Part):
    """What one fault did to one variant.

    Counts are of the requests that ended after the fault began, until the end of the window.
    """

    verdict: Verdict
    """``wrong``: an answer that was never right, was let through, or was stale; ``outage``: a
    second or more without a timely 2xx; ``degraded``: more errors, latency or source reads than
    the scenario's limits allow; ``unaffected``: none of these; ``invalid``: it took no effect."""
    reasons: list[str]
    """All that speaks for the verdict and for lesser ones; empty where it is ``unaffected``."""
    bit: int
    """How often it took effect; 0 makes the run invalid."""
    bit_what: str
    """What was counted to see that."""
    detail: str = ""
    """More about it."""
    begun_s: float
    """When the first thing was broken, in seconds since the start of the window."""
    ended_s: float
    """When the last thing was mended."""
    watched_s: float
    """How long the window went on after that."""
    balancer: str
    """The model of a load balancer: ``blind`` or ``probed``."""
    requests: int
    """Requests that ended after the fault began, with or without an answer."""
    errors: dict[str, int]
    """Those that failed, by status or kind of transport error."""
    errors_share: float
    """Their share; 0 to 1."""
    errors_share_after: float | None = None
    """Of the requests of the window after it: those that failed; 0 to 1. None without one."""
    errors_longest_s: float
    """The longest stretch in which requests waited or failed and no timely 2xx ended."""
    latency_ms_max: float
    """The longest that a caller waited, with or without an answer, from when its request was
    due."""
    stampede: float | None
    """Source reads in the worst second over those of a correct cache in that second; null where
    reads are not seen."""
    stampede_before: float | None
    """The same of the time before the fault."""
    recovery_s: float | None
    """From the fault's end to the first of three seconds in a row with timely 2xx alone; null if
    there were none."""
    log_records_per_request: float | None
    """Log records that the replicas counted; null where they do not."""
    log_bytes_per_request: float | None
    """Bytes that the replicas' logs grew by; null where the logs were not watched."""
    spend_lost_micro: int
    """Cost of 2xx replies that no row of a key in Postgres had gained in the end, in millionths of
    a US dollar."""
    wrong: int
    """Objects served that were never right."""
    stale: int
    """Replies that were right only longer ago than the promise."""
    let_through: int
    """2xx replies that should have been refused."""
    timeline: list[FaultSecond]
    """Every second of the window."""


class KeptAlive(_Part):
    """Objects of one kind and scope whose entries are kept alive by requests."""

    rarely_read: int = 0
    """Objects that were served from a cache at least 20 times per TTL, in windows longer than the
    promise, and read less than a tenth as often as a correct cache would."""
    objects: int = 0
    """Objects that were served as often."""
    age_max_s: float | None = None
    """Greatest age of an entry that was served, where it is above the promise; else null."""


class SourceResult(_Part):
    """Where a LiteLLM came from; each worker reported the same when it started."""

    kind: Literal["release", "tree", "commit", "wheel"]
    """A working tree is no release, whatever its version says."""
    name: str
    """A release as ``litellm==1.105.7``, the folder of a repository, or a wheel file."""
    identity: str | None = None
    """The commit that was checked out, or the SHA-256 of the wheel file."""
    uncommitted: int = 0
    """Changed and untracked files of a working tree."""
    digest: str | None = None
    """SHA-256 over all files that were laid over the environment; null for a release."""
    laid_over: str | None = None
    """The release whose environment it ran in; null for a release."""
    native: bool
    """Whether LiteLLM's native file was imported."""


class MemberResult(_Part):
    """What the replicas of one variant did in the measured windows of a fleet that runs two."""

    version: str
    """Version of what they run."""
    replicas: list[int]
    """Their indices."""
    requests: dict[Scope, dict[Status, int]]
    """Requests that they answered."""
    unanswered: dict[ErrorKind, int]
    """Requests sent to them without an answer."""
    unexpected_statuses: dict[Scope, dict[Status, int]]
    """Answers by a status that Postgres' state did not call for."""
    source_reads: int | None
    """Their queries to Postgres for an object; null where they were not seen."""
    source_reads_per_1000: float | None
    """The same per 1,000 answered requests."""
    unread: dict[VariantName, dict[ObjectName, int]] | None
    """Entries that they found and could not read, by the variant that wrote them; ``not said``
    where no entry names it, as in a release. Null where they were not seen."""
    wrong: dict[VariantName, dict[ObjectName, int]] | None
    """Objects that they served and Postgres never held, by the variant that wrote the entry;
    ``Postgres`` of an object that was read for the request. Null where they were not seen."""
    service_ms: Percentiles
    """Time from the start of a request to its answer."""


class VariantResult(_Part):
    """Everything measured of one variant."""

    target: str
    """What a replica ran: ``reference``, or a release."""
    version: str
    """Version of the target."""
    source: SourceResult | None = None
    """Null for the reference proxy, and in runs from before sources were recorded."""
    title: str
    """The variant in a line."""
    switches: dict[Switch, Any]
    """All switches; empty for a release, which has none."""
    overridden: list[str] = []
    """Switches that the command line changed: the variant is not what its name says."""
    windows: list[Window]
    """Cold fill and measured windows, in order of time."""
    cells: Annotated[dict[Scope, list[Cell]], "by scope", BeforeValidator(_listed)]
    """Cells that apply, the worst first; scopes without requests, or not seen, are absent."""
    cell_reasons: dict[Scope, str]
    """Reasons for the cells, in their order, or why there are none where they were not seen."""
    not_tested: list[str] = [FRESHNESS]
    """What no cell says: ``freshness`` where nothing changed, ``freshness in SCOPE`` where nothing
    changed in that scope, or no worker was measured after a change."""
    requests: dict[Scope, dict[Status, int]]
    """Answered requests; scopes without requests are absent."""
    unexpected_statuses: dict[Scope, dict[Status, int]]
    """Answers by a status that Postgres' state did not call for, key by key and without those in
    ``let_through``; windows of refusals, of changes and after faults included."""
    let_through: dict[Scope, dict[RefusalName, int]] | None = None
    """2xx replies that should have been refused, by the reason of the refusal; the same windows
    included. Null where it was not measured."""
    refusals: dict[Scope, dict[RefusalName, RefusalResult]] = {}
    """Answers to the keys that test refusals, by the kind of the key."""
    stale: dict[Scope, dict[ObjectName, int]] | None = None
    """Served objects, or answers (``status``), that were right only longer ago than the promise:
    memory TTL, Redis TTL and one read. Null in runs from before versions had times."""
    kept_alive: dict[Scope, dict[ObjectName, KeptAlive]] = {}
    """Objects whose entries requests keep alive, or that were served when older than the promise.
    Kinds without such objects are absent, as are those that were not seen."""
    source_reads: int | None
    """Queries to Postgres for an object, all scopes; null where they were not seen."""
    source_reads_per_1000: dict[ScopeOrAll, float]
    """Source reads over answered requests of all windows; scopes without requests, or not seen, are
    absent."""
    source_reads_per_1000_range: dict[ScopeOrAll, Range]
    """The same by round."""
    source_reads_per_1000_by_object: dict[Scope, dict[ObjectName, float]]
    """The same by object; objects that were never read and scopes that were not seen are absent."""
    reference_line_per_1000: dict[ScopeOrAll, float]
    """One read for each object and TTL. Not a floor."""
    ttl_kept: dict[ScopeOrAll, Estimate] = {}
    """Tenth percentile of the time between two source reads of one object, over the TTL, of what
    expires: 1 where entries live one TTL; ``n`` intervals. Per fleet with Redis, per worker
    without. Absent with fewer than eight intervals, or where reads were not seen one by one."""
    reads_per_object_and_ttl: dict[ScopeOrAll, float] = {}
    """Source reads of what expires, over objects and TTLs: a ratio of sums. A kind of object does
    not expire where its reads grow with requests, or more than 5 % of them have another reason
    than ``miss`` and ``refresh``. Scopes without requests, or not seen, are absent."""
    expected_reads_per_object_and_ttl: dict[ScopeOrAll, float] = {}
    """The same of a correct cache of these workers at this rate."""
    reads_over_expected: dict[ScopeOrAll, Estimate] = {}
    """The first over the second, with bounds by key; ``n`` keys. Bounds are null where there is a
    single key, or where reads were not seen one by one."""
    other_reads_per_request: dict[ScopeOrAll, float] = {}
    """Source reads per answered request of all other kinds: what does not decode, is read past the
    cache, or is never cached."""
    elasticity: dict[Scope, dict[ObjectName, Estimate]] = {}
    """Slope of log source reads on log requests over the keys of a scope, which are requested at
    different rates; 0 where a TTL causes the reads, 1 where requests do; bounds one-sided at 99 %,
    ``n`` reads. Absent without reads, for a single key, or where keys have equal weights."""
    uncached: dict[Scope, dict[ObjectName, float]] = {}
    """Where a scope has no such slope: source reads per request, at least (one-sided at 99 %), of
    objects that are read more often than any cache of the TTL does; absent where they are not."""
    cold_fill_source_reads: int | None = None
    """Source reads of the cold fill; null where it was not measured or not seen."""
    lookups: dict[TierName, dict[OutcomeName, int]]
    """Lookups of all scopes; tiers that the variant does not have are absent. Empty where they
    were not seen."""
    lookups_by_scope: dict[Scope, dict[TierName, dict[OutcomeName, int]]]
    """The same by scope."""
    deserialize_failures: dict[Scope, dict[ObjectName, int]] | None
    """Values found but not decoded, in any tier; null where they were not seen."""
    coalesced: dict[Stage, int]
    """Lookups that waited for another's answer, ``before_redis`` or ``before_source``."""
    log_records: dict[SignatureName, int] | None
    """Log records by a closed list of signatures, and ``other``; null where they were not seen."""
    log_pairs: dict[Scope, int] | None
    """WARNING and ERROR of a failed typed read, counted by the ERROR; null where they were not
    seen."""
    wrong_values: dict[Scope, dict[ObjectName, int]] | None
    """Served objects whose digest Postgres never held; windows of refusals, of changes and after
    faults included. Null where they were not seen."""
    entry_age_max_s: dict[TierName, float]
    """Greatest time between the read from Postgres and the serving, of anything served from that
    tier; tiers that served nothing, or cannot know, are absent."""
    payload_bytes: dict[ObjectName, float]
    """Mean encoded size; objects that were never encoded are absent. Empty where it was not
    seen."""
    codec_us: dict[CodecOp, dict[ObjectName, float]]
    """Mean time of one call; objects that were never encoded or decoded are absent. Empty where it
    was not seen."""
    spend_drift_micro: dict[ObjectName, int]
    """Cost of the answered requests minus what Postgres gained, of ``user``, ``team`` and
    ``membership``: a finding. The key's own spend is an equation of the ledger. Empty where it was
    not seen."""
    budgets: list[OwnerBudget] = []
    """Budgets within reach; empty where the scenario has none."""
    latency_ms: Latency
    """Latency of all answered requests."""
    by_member: dict[VariantName, MemberResult] = {}
    """Where the replicas run two variants: each by itself. All else is of both together."""
    cpu_ms_per_request: dict[Group, float] = {}
    """CPU time of ``replicas``, ``redis``, ``postgres`` and ``generator`` in the measured windows;
    groups that are not the run's own are absent."""
    hard_coded: list[str] = []
    """What a release fixes and the scenario could not set."""
    backfill_ttl_s: dict[ObjectName, float] = {}
    """Memory TTL of the last entry taken from Redis; releases only."""
    not_instrumented: list[str] = []
    """Points of a release that could not be wrapped, or did not count a known event: what is seen
    through them only is absent or null."""
    not_instrumented_because: dict[PointName, str] = {}
    """Why a point is in ``not_instrumented``, as the release's worker said it."""


class Equation(_Part):
    """One line of the ledger for one variant and window."""

    name: str
    """Name of the equation."""
    variant: str
    """Variant of the fleet."""
    window: str
    """Name of the window."""
    description: str
    """Left = right, in words."""
    cannot_see: str = ""
    """A fault of its kind that leaves it balanced."""
    left: float | None
    """Sum of the left side; null where it was not checked."""
    right: float | None
    """Sum of the right side; null where it was not checked."""
    residual: float | None
    """Left - right; where an equation holds object by object, the sum of the distances, so that
    two mistakes cannot cancel each other. Null where it was not checked."""
    status: Literal["balanced", "unbalanced", "not_checked"]
    """Whether the two sides agree."""
    kind: Literal["validity", "finding"]
    """A ``validity`` equation that is unbalanced makes the run invalid; a ``finding`` says
    something about the variant."""
    reason: str = ""
    """Why it was not checked, or what does not fit, by name; empty where it balances."""


class Ledger(_Part):
    """What generator, replicas, Redis and Postgres each counted, reconciled."""

    balanced: bool | None
    """No equation of kind ``validity`` is unbalanced; null where none was checked."""
    equations: list[Equation]
    """Every equation for every window; empty without a window."""


class Generator(_Part):
    """Health of the load generator over the measured windows.

    Notes name a cold fill that was driven late: fresh processes fall behind, its counts stay right.
    """

    planned: int
    """Requests in the plan; in a closed load those started."""
    sent: int
    """Requests sent."""
    answered: int
    """Requests with a status."""
    unanswered: dict[ErrorKind, int]
    """Requests without one, by kind of transport error."""
    late: int
    """Requests that started later than their time by more than the scenario's limit."""
    max_delay_ms: float
    """Greatest delay of a start."""
    late_share_max: float = 0.0
    """Greatest share of late requests in one window; 0 to 1."""
    median_delay_ms: float = 0.0
    """Greatest median delay of one window."""
    cpu_share: float
    """The generator's share of the CPU time of generator, replicas and servers; 0 to 1."""
    replica_share_min: float
    """Least loaded replica's share of the requests, times the number of replicas; 1 is even."""
    replica_share_max: float
    """The same for the most loaded replica."""


class ExpectationResult(_Part):
    """One expectation, what was measured, and what the noise leaves of it."""

    name: str
    """What the expectation is about, in words."""
    variant: str
    """Variant of the figure."""
    scope: str
    """A scope, or ``all``."""
    measured: str
    """Cell or figure, or ``not measured``, with the points that hid it."""
    limit: str
    """Cell or bounds."""
    estimate: float | None = None
    """The figure; of a cell the replies per 1,000 that speak for it, of ``healthy`` those that
    speak against it. Null where it was not measured."""
    low: float | None = None
    """Lower end of the interval; equal to ``high`` for a figure without noise, such as a greatest
    age."""
    high: float | None = None
    """Upper end of the interval."""
    rounds: int = 0
    """Measured windows that it rests on."""
    state: State
    """``holds``: the whole interval is within the limit; ``fails``: all of it is outside;
    ``undecided``: neither, or it was not measured."""
    reason: str = ""
    """Why it is undecided; empty otherwise."""
    more_rounds: int | None = None
    """Further rounds that would decide it, if the estimate stays; null where it is decided, or
    where no number of rounds is known."""
    not_instrumented: list[str] = []
    """Points of a release that hid it: then it is undecided."""

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return self.state == "holds"

    @property
    def failed(self) -> bool:
        """Whether the measured value breaks the expectation."""
        return self.state == "fails"


class LoadSettings(_Part):
    """The load that was driven; where nothing was, the planned one.

    Figures of runs that differ in it cannot be compared.
    """

    rate_per_s: float
    """Requests per second over all scopes, as driven; 0 for a closed load."""
    seed: int
    """Seed of population and arrivals."""
    rounds: int
    """Measured windows planned for each variant."""
    window_ttls: int
    """Length of a window in TTLs."""
    population: dict[Scope, int]
    """Keys by scope."""
    model: Literal["open", "closed"] | None = None
    """Null in runs from before it was recorded, together with all below."""
    users: int | None = None
    """Users of a closed load; null for an open one, where they only serve the arrivals."""
    mix: dict[Scope, float] = {}
    """Weights of the key scopes."""
    key_weights: list[float] = []
    """Weights that the keys of a scope take in turn; empty where ``zipf`` is their popularity."""
    zipf: float = 0.0
    """Exponent of the keys' popularity within each scope; 0 without one."""
    changes: list[str] = []
    """Each change as ``key-block team``, with the settings that are not the usual ones."""


class Sizing(_Part):
    """Load for each object of one scope: the rule that population and rate follow.

    Reads per request mean something only if each object is requested often: first reads are misses
    in every variant. The scenario sets the least ``requests_per_object``; below it no run starts.
    """

    scope: str
    """Key scope."""
    keys: int
    """Virtual keys of that scope."""
    objects: int
    """Different objects that its requests look up."""
    requests_per_ttl: float
    """Requests in one TTL, by plan."""
    requests_per_object: float
    """The same for the objects of the key that gets the fewest: a request asks for all objects of
    its key."""


class CheckResult(_Part):
    """What one replica answered to chats and management calls, and what was booked of them."""

    replica: int
    """Its index."""
    chats: dict[Status, int]
    """Chat completions with a key of their own."""
    calls: dict[ActionName, str]
    """Status of each management call, as ``200``, or the kind of transport error."""
    refused: dict[ActionName, str] = {}
    """The beginning of the answer where it was no 2xx."""
    spend_logs: int | None
    """Rows that the chats left in the table of spend logs; null where the database has none."""
    spend_micro: int
    """What the key's row gained, in millionths of a US dollar."""
    spend_due_micro: int
    """What the answered chats cost."""


class Replacement(_Part):
    """One replica that got a successor, under load."""

    replica: int
    """Its index."""
    variant: VariantName
    """What the successor runs."""
    seconds: float
    """From SIGTERM to the successor's first answer."""
    requests: int
    """Requests sent meanwhile, to all replicas that the balancer knew."""
    unanswered: dict[ErrorKind, int]
    """Those without an answer."""
    statuses: dict[Status, int]
    """The others, by status."""


class RolloutPhase(_Part):
    """A phase of a rollout; its figures are those of the variant of its name."""

    replicas: list[VariantName]
    """What each replica runs."""
    replaced: list[Replacement]
    """Replicas that were replaced before it, in order."""
    checks: dict[VariantName, CheckResult]
    """One replica of each variant, checked after its window."""


class Rollout(_Part):
    """A rollout from one variant to another and back, on one Redis and one database."""

    old: VariantName
    """Where it begins and ends."""
    new: VariantName
    """What all replicas run in its middle."""
    tables: VariantName
    """Whose tables the database has."""
    drained: bool
    """Whether the balancer takes a replica out before it is ended. If not, it keeps sending to its
    address (``blind``)."""
    phases: dict[str, RolloutPhase]
    """In order of time."""


class Result(_Part):
    """The run."""

    schema_version: Literal[2] = 2
    """Version of this schema."""
    run_id: str
    """Name of the run's folder."""
    started_at: str
    """Start of the run, UTC, ISO 8601."""
    elapsed_s: float
    """From the first server's start to the last one's end."""
    scenario: str
    """Name of the scenario."""
    title: str
    """Its title."""
    premises: list[str]
    """Everything planted, in words; empty when nothing is."""
    stack: str
    """``embedded``, another stack, or ``attached``: a fleet that ran already."""
    replicas: int
    """Replicas of each fleet."""
    workers: int
    """Workers of each replica."""
    ttl_s: float
    """TTL that the fleets had: after scaling, and raised where a release is too slow for the
    planned one (``notes`` say so)."""
    time_scale: float
    """Factor on all times of the scenario; 1 is as written."""
    rounds: int
    """Measured windows of each variant; of a run that was cut short, the most that any has. Those
    planned at least where none was measured."""
    rounds_max: int | None = None
    """Most rounds that the run could have measured; null where it could not go on."""
    bound_error: float = 0.05
    """Chance, at most, that a given end of an interval is wrong: 5 % for the whole run, shared
    among the bounds that it asserts and the looks that it may take."""
    seed: int
    """Seed of population and arrivals."""
    load: LoadSettings | None = None
    """The load that was driven; null in runs before schema fields had it."""
    complete: bool
    """False when the run was cut short; completed windows are kept."""
    verdict: Literal["pass", "regression", "inconclusive", "invalid", "interrupted", "observed"]
    """Outcome of the run; ``observed`` where nothing was asked."""
    exit_code: int
    """0 pass or observed, 1 regression, 2 usage, 3 inconclusive (with ``--strict`` also observed),
    4 invalid, 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM."""
    reasons: list[str]
    """Reasons for the verdict, the most important first; empty where it needs none."""
    sizing: list[Sizing]
    """Load for each object, by scope."""
    variants: dict[VariantName, VariantResult]
    """In the order in which they were requested; a variant without a measured window is
    absent."""
    freshness: dict[VariantName, dict[ActionName, dict[Scope, Freshness]]] = {}
    """What became of the changes, by kind of change and scope of the key; empty where nothing
    changed."""
    faults: dict[VariantName, dict[FaultName, FaultResult]] = {}
    """What each planned fault did to each variant; empty where nothing was broken."""
    change_costs: dict[VariantName, ChangeCost] = {}
    """What the windows of changes cost each variant."""
    combined_view: list[CombinedViewRow] = []
    """The table of PR #26202; empty where the scenario does not ask for it."""
    rollout: Rollout | None = None
    """Phases of a rollout; null in any other run."""
    ledger: Ledger
    """What all parties counted, reconciled."""
    generator: Generator
    """Health of the load generator."""
    expectations: list[ExpectationResult]
    """Those about a measured variant, each with its interval."""
    observed: list[str] = []
    """Variants without an expectation: neither pass nor fail."""
    sustained_per_s: dict[VariantName, float] = {}
    """Requests/s that each release answered in a closed loop before the run; empty without one."""
    too_slow: list[VariantName] = []
    """Releases that sustain less than any run needs: then nothing was measured."""
    notes: list[str] = []
    """Facts that a reader of the figures needs: settings of the servers; of scaling, rate and TTL
    only what was measured."""


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names of a result as every table has them: known ones in their order, then others by name."""
    present = set(names)
    head = [name for name in dict.fromkeys(known) if name in present]
    return head + sorted(present - set(head))
