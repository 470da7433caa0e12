"""A fleet whose replicas run two variants, in turn, on one Redis and one database.

A name is ``mixed:A+B``, of two variants of one kind, or of any whose tables agree. Each replica
keeps its own version and labels; the fleet has one database, with the tables of the newer variant.
Which one is newer is not a matter of names: its steps of `Target.schema` include the other's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.domain.progress import Progress
from harness.errors import SetupError, UsageError
from harness.targets.base import (
    Call,
    Choice,
    ContainerContext,
    ContainerSpec,
    Database,
    KeyTruth,
    ProcessSpec,
    ReplicaContext,
    Target,
    TargetKind,
)
from harness.targets.schema.database import LiteLLMDatabase
from harness.targets.settings import RunSettings

if TYPE_CHECKING:
    import asyncpg

PREFIX = "mixed:"
_TWO = 2
Schema = Literal["newer", "older"]
"""Whose tables the fleet's database has."""
KindOf = Callable[[str], TargetKind[Any]]
T = TypeVar("T")
KindOfChoice = Callable[[Choice], TargetKind[Any]]


@dataclass(frozen=True, slots=True)
class MixedChoice:
    """Two variants that share a fleet."""

    members: tuple[Choice, Choice]

    @property
    def name(self) -> str:
        """``mixed:A+B``, with the short names of sources."""
        return PREFIX + "+".join(one.name for one in self.members)

    @property
    def title(self) -> str:
        """Both in a line."""
        return f"{self.members[0].name} and {self.members[1].name}, replicas in turn"


def member_names(name: str) -> tuple[str, str]:
    """The two variants of a name. Raises UsageError where there are not two different ones."""
    found = [one.strip() for one in name.removeprefix(PREFIX).split("+")]
    if len(found) != _TWO or not all(found):
        raise UsageError(
            f"[{name}] does not name two variants. Write mixed:A+B, as in "
            "mixed:litellm==1.92.2+litellm==1.94.0; a source with a + in its path needs a short "
            "name, as in mixed:base=litellm@a+head=litellm@b."
        )
    first, second = found
    if first == second:
        raise UsageError(
            f"[{name}] names one variant twice. Name two, or run [{first}] without mixed:."
        )
    return first, second


class MixedKind(TargetKind[MixedChoice]):
    """Fleets of two variants.

    Args:
        kind_of: the kind of a member by its name, from the registry that this kind is in.
        kind_of_choice: the same by a choice.
    """

    name = "mixed"
    database = LiteLLMDatabase()

    def __init__(self, kind_of: KindOf, kind_of_choice: KindOfChoice) -> None:
        self._kind_of = kind_of
        self._kind_of_choice = kind_of_choice

    def owns(self, variant: str) -> bool:
        """Names that begin with ``mixed:``, well-formed or not."""
        return variant.startswith(PREFIX)

    def scales(self, variant: str) -> bool:
        """Whether the times of both can be scaled; True for a name of which `choose` complains."""
        return all(self._kind_of(one).scales(one) for one in self.members(variant))

    def makes(self, choice: Choice) -> bool:
        """A mixed choice."""
        return isinstance(choice, MixedChoice)

    def members(self, variant: str) -> tuple[str, ...]:
        """Both, or what else is between the signs."""
        return tuple(one.strip() for one in variant.removeprefix(PREFIX).split("+"))

    def choose(self, variant: str) -> MixedChoice:
        """Both members. Raises UsageError; UnknownNameError for a member that does not exist."""
        return self.choose_from(variant, {})

    def choose_from(self, variant: str, known: Mapping[str, Choice]) -> MixedChoice:
        """As `choose`; known variants as they are there."""
        first, second = (
            known[one] if one in known else self._kind_of(one).choose(one)
            for one in member_names(variant)
        )
        if first.name == second.name:
            raise UsageError(f"[{variant}] names [{first.name}] twice. Name two variants.")
        return MixedChoice((first, second))

    def configure(
        self, choice: MixedChoice, *, environment: str | None, config: Path | None,
        keep_callbacks: bool,
    ) -> MixedChoice:  # fmt: skip
        """As `TargetKind.configure`, of both members."""
        return self._each(
            choice,
            lambda kind, one: kind.configure(
                one, environment=environment, config=config, keep_callbacks=keep_callbacks
            ),
        )

    def relax(self, choice: MixedChoice, packages: Sequence[str]) -> MixedChoice:
        """As `TargetKind.relax`, of both members."""
        return self._each(choice, lambda kind, one: kind.relax(one, packages))

    async def target(self, choice: MixedChoice, progress: Progress) -> Target:
        """Both targets, as one. Raises UsageError where their tables exclude each other."""
        targets = [await self._kind_of_choice(one).target(one, progress) for one in choice.members]
        return MixedTarget([one.name for one in choice.members], targets)

    def _each(
        self, choice: MixedChoice, change: Callable[[TargetKind[Any], Choice], Choice]
    ) -> MixedChoice:
        first, second = (change(self._kind_of_choice(one), one) for one in choice.members)
        return MixedChoice((first, second))


class MixedTarget(Target):
    """Replicas that run two targets.

    Args:
        names: of both variants.
        targets: of both, in the same order.
        order: which of them each replica runs, replica by replica and over again.
        schema: whose tables the database has.

    Raises:
        UsageError: neither has all the tables of the other.
        SetupError: they are ready at different addresses.
    """

    kind = "mixed"

    def __init__(
        self,
        names: Sequence[str],
        targets: Sequence[Target],
        order: Sequence[int] = (0, 1),
        *,
        schema: Schema = "newer",
    ) -> None:
        if len({one.readiness_path for one in targets}) > 1:
            raise SetupError(f"[{' and '.join(names)}] tell that they are ready in different ways.")
        self._older, self._newer = _by_schema(names, targets)
        self._schema_of = schema
        self._order = tuple(order)
        self._names, self._targets = tuple(names), tuple(targets)
        running = {names[i]: targets[i] for i in sorted({*order})}
        self._running = running
        each = list(running.values())
        self.members = tuple(names[i] for i in order)
        self.version = " + ".join(dict.fromkeys(one.version for one in each))
        self.readiness_path = targets[0].readiness_path
        self.ready_timeout_s = max(one.ready_timeout_s for one in targets)
        self.uses_redis = any(one.uses_redis for one in targets)
        self.not_checked = _not_checked(running)
        self.findings = frozenset().union(*(one.findings for one in each))
        self.loses_spend = frozenset().union(*(one.loses_spend for one in each))
        self.reads_again = frozenset().union(*(one.reads_again for one in each))
        self.overridden = _all_lines(running, lambda one: one.overridden)
        self.hard_coded = _all_lines(running, lambda one: one.hard_coded)
        self.takes_premises = all(one.takes_premises for one in targets)
        self.names_reads = all(one.names_reads for one in each)
        self.logs_reads = all(one.logs_reads for one in targets)
        shares = [one.pace_share for one in targets if one.pace_share is not None]
        self.pace_share = min(shares, default=None)
        self.notes = tuple(dict.fromkeys(note for one in each for note in one.notes))
        both = targets[0].database, targets[1].database
        same = both[0] is both[1]
        self._database = both[0] if same else _OfBoth(both[self._newer], both[self._older])

    @property
    def database(self) -> Database:
        """The tables of the newer, in which a refusal of either is right."""
        return self._database

    @property
    def schema(self) -> tuple[str, ...]:  # type: ignore[override]  # of one of its targets
        """The steps of the variant whose tables the database has."""
        return self._targets[self._tables].schema

    @property
    def _tables(self) -> int:
        return self._newer if self._schema_of == "newer" else self._older

    def member(self, replica: int) -> Target:
        """The target that a replica runs."""
        return self._targets[self._order[replica % len(self._order)]]

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        """The tables of the older; then, unless they are to stay so, what the newer adds."""
        older, newer = self._targets[self._older], self._targets[self._newer]
        await older.prepare_database(dsn, has=has)
        if self._schema_of == "newer":
            await newer.prepare_database(dsn, has={*has, *older.schema})

    def process(self, context: ReplicaContext) -> ProcessSpec:
        """One replica, under the name of the variant that it runs."""
        name = self.members[context.replica % len(self.members)]
        target = self.member(context.replica)
        return target.process(replace(context, fleet=name, mixed=True))

    def container(self, context: ContainerContext) -> ContainerSpec:
        """Raises SetupError: one description serves all containers of a fleet."""
        raise SetupError(
            f"[{context.fleet}] cannot run in containers, whose replicas are all alike. "
            "Use STACK=embedded."
        )

    def lookups(
        self, key: VirtualKey, settings: RunSettings
    ) -> Mapping[tuple[str, str], int] | None:
        """What both make; None where they differ, or one cannot say."""
        return _agreed(one.lookups(key, settings) for one in self._running.values())

    def call(self, action: str, key: VirtualKey, number: int) -> Call | None:
        """A call that both take, since either may get it."""
        return _agreed(one.call(action, key, number) for one in self._running.values())

    def broadcasts(self, action: str) -> bool | None:
        """What both do; None where they differ."""
        return _agreed(one.broadcasts(action) for one in self._running.values())

    def kept_by_code_s(
        self, ttl_s: float, *, time_scale: float = 1.0, management_ttl: bool = False
    ) -> float:
        """The longer of both."""
        return max(
            one.kept_by_code_s(ttl_s, time_scale=time_scale, management_ttl=management_ttl)
            for one in self._running.values()
        )

    def describe(self) -> Mapping[str, Any]:
        """In place of switches: who runs what, and whose tables there are."""
        tables = self._names[self._tables]
        return {"replicas": ", ".join(self.members), "tables": tables}


class _OfBoth(Database):
    """One database for two targets that name its statements, or refuse, in different ways."""

    def __init__(self, newest: Database, older: Database) -> None:
        self._newest, self._older = newest, older

    async def seed(self, connection: asyncpg.Connection, keys: Sequence[VirtualKey]) -> None:
        await self._newest.seed(connection, keys)

    async def seeded(self, connection: asyncpg.Connection) -> bool:
        return await self._newest.seeded(connection)

    def classify(self, statement: str) -> ObjectKind | None:
        return self._newest.classify(statement) or self._older.classify(statement)

    def name_other(self, statement: str) -> str | None:
        return self._newest.name_other(statement) or self._older.name_other(statement)

    def rows(self, key: VirtualKey) -> Mapping[ObjectKind, str]:
        return self._newest.rows(key)

    async def spend_micro(
        self, connection: asyncpg.Connection
    ) -> Mapping[ObjectKind, Mapping[str, int]]:
        return await self._newest.spend_micro(connection)

    async def truth(
        self,
        connection: asyncpg.Connection,
        keys: Sequence[VirtualKey],
        *,
        planted_null_user: bool,
    ) -> Mapping[int, KeyTruth]:
        newest, older = [
            await one.truth(connection, keys, planted_null_user=planted_null_user)
            for one in (self._newest, self._older)
        ]
        return {
            index: replace(truth, also=_other(older[index].status, truth.status))
            for index, truth in newest.items()
        }

    async def edit(
        self, connection: asyncpg.Connection, action: str, key: VirtualKey, number: int
    ) -> bool:
        return await self._newest.edit(connection, action, key, number)


def _by_schema(names: Sequence[str], targets: Sequence[Target]) -> tuple[int, int]:
    """Which of two has the older tables, and which the newer. Raises UsageError."""
    first, second = (set(one.schema) for one in targets)
    if first <= second:
        return 0, 1
    if second <= first:
        return 1, 0
    lacking = [min(first - second), min(second - first)]
    raise UsageError(
        f"[{names[0]}] and [{names[1]}] cannot share a database: the one lacks [{lacking[1]}] and "
        f"the other [{lacking[0]}]. Mix two releases, or two variants of the reference proxy."
    )


def _not_checked(running: Mapping[str, Target]) -> dict[str, str]:
    """The union of what cannot be checked for the members, and what cannot where they differ."""
    found: dict[str, str] = {}
    for name, target in running.items():
        for equation, why in target.not_checked.items():
            found.setdefault(equation, f"{why} ({name})")
    each = list(running.values())
    if len({one.reads_again for one in each}) > 1:
        found.setdefault("direct", "the two variants read a refused key again after other statuses")
    if len({one.uses_redis for one in each}) > 1:
        found.setdefault("redis_lookups", "one of the two variants has no Redis tier")
    return found


def _all_lines(
    running: Mapping[str, Target], lines: Callable[[Target], Iterable[str]]
) -> tuple[str, ...]:
    return tuple(f"{name}: {line}" for name, target in running.items() for line in lines(target))


def _other(status: int, known: int) -> tuple[int, ...]:
    return () if status == known else (status,)


def _agreed(answers: Iterable[T]) -> T | None:
    """The answer that all give, None where they differ."""
    first, *others = answers
    return first if all(one == first for one in others) else None
