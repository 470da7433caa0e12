"""The first seam: what a replica runs.

A target turns a variant into a command line, an environment and a database; its kind knows which
variants are its own. The reference proxy is one kind, real LiteLLM releases are the other.
`harness.targets.registry` gives access to both.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.domain.progress import Progress

if TYPE_CHECKING:
    # Processes that do not use Postgres, like Locust's, parse names of variants too.
    import asyncpg

from harness.targets.settings import RunSettings

WARNING = "Warning: "
"""Begins a note on a mistake, which a reader must not pass over."""


@dataclass(frozen=True, slots=True)
class ReplicaContext:
    """What a stack gives one replica. File descriptors are listening sockets to inherit."""

    fleet: str
    replica: int
    workers: int
    listen_fd: int
    metrics_fds: tuple[int, ...]
    """One per worker."""
    dsn: str
    redis_url: str | None
    redis_namespace: str
    settings: RunSettings
    master_key: str = field(default="", repr=False)
    """`FleetSpec.master_key`; for a replica's environment only. Empty: management calls fail."""
    mixed: bool = False
    """Whether replicas of another variant share its Redis."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to start. ``env`` is added to a minimal environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    other_python: bool = False
    """Whether it runs the Python of another environment: the caller's PYTHONPATH and the like are
    then kept from it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where every worker must have the gateway's code from, as it reports it."""

    folder: str
    """The folder that holds the package."""
    native: bool
    """Whether its native file is imported."""
    digest: str = ""
    """SHA-256 over all files of the folder; empty where they were checked when installed."""


@dataclass(frozen=True, slots=True)
class ContainerContext:
    """What a stack gives all replicas of a fleet that run in containers.

    They share one description, because a scaled service has one: no replica knows its number.
    """

    fleet: str
    workers: int
    port: int
    """For clients; on all addresses of the container."""
    metrics_port: int
    """Port of the first worker; worker i listens on ``metrics_port + i``."""
    dsn: str
    redis_url: str | None
    settings: RunSettings
    master_key: str = field(default="", repr=False)
    """As `ReplicaContext.master_key`."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container runs. Its image and mounts are in ``compose/KIND.yaml``."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A management call: a request with the fleet's master key that makes a change."""

    method: str
    path: str
    body: Mapping[str, Any] = field(repr=False)
    """Sent as JSON; it may hold a key's secret."""


@dataclass(frozen=True, slots=True)
class KeyTruth:
    """What Postgres held about one key: the version that is true now, and those before it."""

    digests: Mapping[str, str]
    """By `harness.authcache.digest.digest`; a key need not have a user, team or membership."""
    status: int
    """What it calls for, as the target answers."""
    refusal: str = ""
    """Why it calls for a refusal, as `harness.targets.schema.truth.refusal` has it; empty where it
    calls for 200."""
    since: tuple[float, float] | None = None
    """The moment at which it became true, between two bounds: a change takes effect between its
    start and its answer. In seconds since the start of the window; None is before all changes."""
    earlier: tuple[KeyTruth, ...] = ()
    """The versions before, oldest first; each ceased to be true when the next became so."""
    also: tuple[int, ...] = ()
    """Other statuses that are right, where replicas of one fleet refuse in different ways."""

    def true_within(self, start_s: float, end_s: float) -> tuple[KeyTruth, ...]:
        """The versions that may have been true at some moment between two, both included."""
        return tuple(
            version
            for version, began_s, ceased_s in self._spans()
            if began_s <= end_s and ceased_s >= start_s
        )

    def true_before(self, start_s: float) -> tuple[KeyTruth, ...]:
        """The versions that had ceased to be true by a moment."""
        return tuple(version for version, _, ceased_s in self._spans() if ceased_s < start_s)

    def _spans(self) -> Iterator[tuple[KeyTruth, float, float]]:
        """Every version, with the bounds of the time in which it may have been true."""
        versions = (*self.earlier, self)
        began_s = [-math.inf if one.since is None else one.since[0] for one in versions]
        ceased_s = [-math.inf if one.since is None else one.since[1] for one in versions[1:]]
        yield from zip(versions, began_s, [*ceased_s, math.inf], strict=True)


@dataclass(frozen=True, slots=True)
class KeyPath:
    """What an admitted request with one key comes to."""

    scope: str
    """As replicas count it."""
    rows: Mapping[str, str]
    """The row that is charged, by object; only rows that exist."""
    lookups: Mapping[tuple[str, str], int] | None = None
    """Lookups by object and op, the spend path's included; a pair that depends on what was found
    is missing. None where the target cannot say."""


class Database(Protocol):
    """What a target's tables hold: how the harness fills them, and what it reads from them."""

    async def seed(self, connection: asyncpg.Connection, keys: Sequence[VirtualKey]) -> None:
        """Insert a population. Other keys may exist already."""

    async def seeded(self, connection: asyncpg.Connection) -> bool:
        """Whether a population has been seeded. The tables need not exist."""

    def classify(self, statement: str) -> ObjectKind | None:
        """The object that a statement of a replica reads; None for any other statement.

        Args:
            statement: as ``pg_stat_statements`` has it, with ``$1`` for constants.
        """

    def name_other(self, statement: str) -> str | None:
        """A name for a statement that reads no object, such as a write; None for an unknown one."""
        del statement
        return None

    def rows(self, key: VirtualKey) -> Mapping[ObjectKind, str]:
        """The row of each object that a key's requests are charged to, as `spend_micro` names it.

        Only rows that exist.
        """

    async def spend_micro(
        self, connection: asyncpg.Connection
    ) -> Mapping[ObjectKind, Mapping[str, int]]:
        """Spend by object and row, in millionths of a US dollar."""

    async def truth(
        self,
        connection: asyncpg.Connection,
        keys: Sequence[VirtualKey],
        *,
        planted_null_user: bool,
    ) -> Mapping[int, KeyTruth]:
        """Right digests and statuses by key index, as of now.

        Args:
            connection: to the fleet's database.
            keys: the population.
            planted_null_user: whether the replicas run with `RunSettings.planted_null_user`.
        """

    async def edit(
        self, connection: asyncpg.Connection, action: str, key: VirtualKey, number: int
    ) -> bool:
        """Make a change by SQL, in one transaction, as `Target.call` makes it by API.

        Args:
            connection: to the fleet's database.
            action: a name in `harness.domain.changes.ACTIONS`.
            key: the key whose answers the change is to alter.
            number: of the change, from 1; makes the limit that it sets unique.

        Returns:
            False if there is no such statement; nothing was changed then.
        """
        del connection, action, key, number
        return False


class Target(Protocol):
    """What a replica runs. Inherit from it to get the defaults."""

    kind: str
    """Name of its `TargetKind`."""
    version: str
    uses_redis: bool
    readiness_path: str
    """Answers 200 as soon as the replica can serve."""
    ready_timeout_s: float
    not_checked: Mapping[str, str] = {}
    """Equations of the ledger that cannot be checked for it, by name, each with the reason."""
    findings: frozenset[str] = frozenset()
    """Equations whose failure is a finding about the target and does not invalidate the run."""
    loses_spend: frozenset[ObjectKind] = frozenset()
    """Objects whose rows are known to miss spend: that is a finding about the target."""
    reads_again: frozenset[int] = frozenset()
    """Statuses after which it reads the key from Postgres once more, without a lookup."""
    overridden: tuple[str, ...] = ()
    """Switches that the command line changed."""
    hard_coded: tuple[str, ...] = ()
    """What no setting of a scenario changes, in sentences."""
    takes_premises: bool = True
    """False where nothing can be planted in it."""
    names_reads: bool = True
    """Whether its replies name each source read that they waited for. Where one statement reads
    several objects they do not, and how seldom an object is read is not known."""
    logs_reads: bool = False
    """Whether its workers keep a log of their source reads (`harness.domain.reads`)."""
    pace_share: float | None = None
    """The share of its sustainable rate in a closed loop at which it is driven; the rest is left
    for the bursts of an open one. None where the scenario's rate is not checked against it."""
    notes: tuple[str, ...] = ()
    """What a reader of its figures must know, in sentences; a mistake begins with `WARNING`."""
    origin: Origin | None = None
    """What each worker's process must report; None where there is nothing to confuse."""
    lacks_native: bool = False
    """Whether a native file that its code looks for is not there: it runs other code, and says
    nothing."""
    source: Mapping[str, Any] | None = None
    """Where its code comes from, as `harness.domain.result.SourceResult`; None for our own."""
    members: tuple[str, ...] = ()
    """The variants that its replicas run, in turn; empty where all run the same."""
    schema: tuple[str, ...] = ()
    """Names of the steps by which `prepare_database` makes its tables, in order."""

    @property
    def database(self) -> Database:
        """Its tables."""

    def member(self, replica: int) -> Target:
        """What one replica runs: the target itself, unless replicas differ."""
        del replica
        return self

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        """Create the schema in an empty database, or add what one lacks. Raises SetupError.

        Args:
            dsn: of a role that may create tables.
            has: steps of `schema` that the database has had.
        """

    def process(self, context: ReplicaContext) -> ProcessSpec:
        """The command of one replica."""

    def container(self, context: ContainerContext) -> ContainerSpec:
        """The command of every replica in a container. Raises SetupError where there is none."""

    def payload_reader(self) -> ProcessSpec | None:
        """A command that reads payloads from Redis as the target does; None where there is none.

        It takes a JSON list of ``[object, payload]`` on standard input, and writes what it makes of
        each as the last line of its output; `harness.analysis.recorded.answered` reads that.
        """
        return None

    def lookups(
        self, key: VirtualKey, settings: RunSettings
    ) -> Mapping[tuple[str, str], int] | None:
        """As `KeyPath.lookups`."""
        del key, settings
        return None

    def path(self, key: VirtualKey, settings: RunSettings) -> KeyPath:
        """What an admitted request with a key comes to."""
        rows = {kind.value: row for kind, row in self.database.rows(key).items()}
        return KeyPath(key.seen_scope, rows, self.lookups(key, settings))

    def call(self, action: str, key: VirtualKey, number: int) -> Call | None:
        """The management call of a change, with arguments as `Database.edit`.

        None where the target does not have the action.
        """
        del action, key, number
        return None

    def broadcasts(self, action: str) -> bool | None:
        """Whether workers that do not take the call hear of the change before they read again.

        A reading of code that runs test; None where it is not known.
        """
        del action
        return None

    def kept_by_code_s(
        self, ttl_s: float, *, time_scale: float = 1.0, management_ttl: bool = False
    ) -> float:
        """How old an entry may be when it is served, by the code, in s; without the time of a read.

        By default what the operator set: one TTL in each tier. An entry that requests store again
        before it expires is kept for longer.

        Args:
            ttl_s: the TTL that the operator set, already scaled.
            time_scale: the factor for times that the code fixes, where they can be scaled.
            management_ttl: as `RunSettings.management_ttl`.
        """
        del time_scale, management_ttl
        return ttl_s * (2 if self.uses_redis else 1)

    def describe(self) -> Mapping[str, Any]:
        """Switches as written to ``result.json``."""


class Choice(Protocol):
    """A requested variant, before its target is made."""

    @property
    def name(self) -> str:
        """Name of the variant."""

    @property
    def title(self) -> str:
        """The variant in a line, for people."""


class Image(Protocol):
    """The container image that a kind's fleets run from, where it is not the harness's own."""

    variable: str
    """Environment variable that names it."""

    def variant(self, image: str) -> str:
        """The variant that an image holds. Raises SetupError, UsageError."""

    def check(self, image: str, variants: Iterable[str]) -> None:
        """Check that these variants can run from an image. Raises SetupError, UsageError."""


C = TypeVar("C", bound=Choice)


class TargetKind(Protocol[C]):
    """All targets of one kind, by the names of their variants. Inherit from it, as from `Target`.

    Every process parses names, so a kind's module imports nothing large; `target` does.
    """

    name: ClassVar[str]
    """As ``target`` in ``result.json``."""
    scales_times: bool = True
    """False where its times cannot be scaled: a scenario is then run as its table
    ``[with_releases]`` says."""
    image: Image | None = None

    @property
    def database(self) -> Database:
        """The tables of its targets."""

    def scales(self, variant: str) -> bool:
        """`scales_times` of one variant of this kind."""
        del variant
        return self.scales_times

    def owns(self, variant: str) -> bool:
        """Whether a variant's name belongs to this kind, well-formed or not."""

    def known(self, name: str) -> bool:
        """Whether an expectation may refer to ``name``: a variant, or a range of variants."""
        return self.owns(name)

    def matches(self, name: str, variant: str) -> bool:
        """Whether ``name``, a variant or a range, matches a variant of this kind."""
        return name == variant

    def choose(self, variant: str) -> C:
        """The variant of a name. Raises UsageError where there is none."""

    def choose_from(self, variant: str, known: Mapping[str, Choice]) -> C:
        """As `choose`, where ``known`` has variants of a user's file, with changed switches."""
        del known
        return self.choose(variant)

    def members(self, variant: str) -> tuple[str, ...]:
        """The names that a variant's name is made of; none where it is one name."""
        del variant
        return ()

    def relax(self, choice: C, packages: Sequence[str]) -> C:
        """A variant for which packages of other versions, or none, may be installed.

        Of no effect where nothing is installed. Raises UsageError for a name that is no package's.
        """
        del packages
        return choice

    def makes(self, choice: Choice) -> bool:
        """Whether a choice is of this kind: its name may be a short one, which says nothing."""
        return self.owns(choice.name)

    def configure(
        self, choice: C, *, environment: str | None, config: Path | None, keep_callbacks: bool
    ) -> C:
        """A variant in the environment of another release, or with the user's configuration.

        Args:
            choice: what `choose` returned.
            environment: names a release; None for the variant's own.
            config: a file of the user's; None for the harness's own settings alone.
            keep_callbacks: whether what calls other services stays on in it.

        Raises:
            UsageError: there is no such release or file.
        """
        del environment, config, keep_callbacks
        return choice

    def renamed(self, choice: C, name: str) -> C:
        """The same variant under another name: a run has each name once."""
        changed: Any = choice
        same: C = replace(changed, name=name)
        return same

    async def target(self, choice: C, progress: Progress) -> Target:
        """The target of a variant, ready to start.

        Args:
            choice: what `choose` returned.
            progress: gets a line for each long step.

        Raises:
            HarnessError: something is missing or wrong.
        """
