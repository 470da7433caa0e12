"""Fleets of two variants: names, who runs what, and what holds for both."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey, make_population
from harness.errors import SetupError, UnknownNameError, UsageError
from harness.scenario.loader import Changes, load_scenario
from harness.targets.base import (
    ContainerContext,
    Database,
    KeyTruth,
    ProcessSpec,
    ReplicaContext,
    Target,
)
from harness.targets.mixed import MixedTarget, member_names
from harness.targets.registry import kind_of, kind_of_choice
from harness.targets.schema.database import LiteLLMDatabase
from harness.targets.settings import RunSettings
from tests.silence import Silence
from tests.stack.fakes import FakeTarget

SETTINGS = RunSettings(ttl_s=2.0)
(KEY,) = make_population({"user": 1}, {}, seed=1, model="m")


class Tables(LiteLLMDatabase):
    """Refuses with a status of its own."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self._status = status

    def name_other(self, statement: str) -> str | None:
        return statement if statement == str(self._status) else None

    async def truth(self, *_: Any, **__: Any) -> dict[int, KeyTruth]:
        return {0: KeyTruth({"key": "k"}, self._status, "expired")}


@dataclass
class One(FakeTarget):
    """A target that says what it was asked."""

    version: str = "1"
    schema: tuple[str, ...] = ("1",)
    status: int = 401
    looked: int = 1
    not_checked: dict[str, str] = field(default_factory=dict)
    loses_spend: frozenset[ObjectKind] = frozenset()
    reads_again: frozenset[int] = frozenset()
    asked: list[Any] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return Tables(self.status)

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        self.asked.append((dsn, sorted(has)))

    def process(self, context: ReplicaContext) -> ProcessSpec:
        self.asked.append(context)
        return ProcessSpec((self.version, context.fleet))

    def lookups(self, key: VirtualKey, settings: RunSettings) -> dict[tuple[str, str], int]:
        del key, settings
        return {("key", "load"): self.looked}

    def broadcasts(self, action: str) -> bool:
        return action == self.version


def mixed(*each: Target, order: Sequence[int] = (0, 1), **options: Any) -> MixedTarget:
    return MixedTarget(["a", "b"], each, order, **options)


def context(replica: int) -> ReplicaContext:
    return ReplicaContext("fleet", replica, 1, 3, (4,), "dsn", None, "", SETTINGS)


def test_replicas_run_both_in_turn_each_under_its_own_name() -> None:
    fleet = mixed(One(version="1"), One(version="2"))

    assert [fleet.process(context(i)).argv for i in range(3)] == [
        ("1", "a"),
        ("2", "b"),
        ("1", "a"),
    ]
    assert [fleet.member(i).version for i in range(4)] == ["1", "2", "1", "2"]
    assert fleet.members == ("a", "b")


def test_a_replica_knows_that_another_variant_shares_its_redis() -> None:
    first = One(version="1")

    mixed(first, One(version="2")).process(context(0))

    assert first.asked[0].mixed


def test_a_phase_of_a_rollout_has_its_own_order() -> None:
    fleet = mixed(One(version="1"), One(version="2"), order=(0, 0, 1))

    assert fleet.members == ("a", "a", "b")
    assert mixed(One(version="1"), One(version="2"), order=(0, 0)).version == "1"


async def test_the_database_gets_the_older_tables_and_then_what_they_lack() -> None:
    older, newer = One(version="1", schema=("1", "3")), One(version="2", schema=("1", "2", "3"))

    await mixed(newer, older).prepare_database("dsn")

    assert older.asked == [("dsn", [])]
    assert newer.asked == [("dsn", ["1", "3"])]


async def test_turned_round_the_database_keeps_the_older_tables() -> None:
    older, newer = One(version="1", schema=("1", "3")), One(version="2", schema=("1", "2", "3"))

    fleet = mixed(newer, older, schema="older")
    await fleet.prepare_database("dsn")

    assert older.asked == [("dsn", [])]
    assert newer.asked == []
    assert fleet.describe()["tables"] == "b"


def test_tables_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot share a database: the one lacks \[x\] .* \[2\]"):
        mixed(One(version="1", schema=("1", "2")), One(version="2", schema=("1", "x")))


def test_what_is_not_checked_is_the_union_and_names_the_variant() -> None:
    first = One(version="1", not_checked={"pairs": "unseen"}, reads_again=frozenset({401}))
    second = One(version="2", not_checked={"memory": "its own"}, uses_redis=False)

    assert mixed(first, second).not_checked == {
        "pairs": "unseen (a)",
        "memory": "its own (b)",
        "direct": "the two variants read a refused key again after other statuses",
        "redis_lookups": "one of the two variants has no Redis tier",
    }
    assert mixed(first, second, order=(0,)).not_checked == {"pairs": "unseen (a)"}


def test_what_both_do_alike_is_known_and_what_differs_is_not() -> None:
    assert mixed(One(version="1"), One(version="2")).lookups(KEY, SETTINGS) == {("key", "load"): 1}
    assert mixed(One(version="1"), One(version="2", looked=2)).lookups(KEY, SETTINGS) is None
    assert mixed(One(version="1"), One(version="2")).broadcasts("1") is None
    assert mixed(One(version="1"), One(version="2")).broadcasts("3") is False


def test_what_one_loses_the_fleet_may_lose() -> None:
    fleet = mixed(One(version="1", loses_spend=frozenset({ObjectKind.USER})), One(version="2"))

    assert fleet.loses_spend == {ObjectKind.USER}
    assert not mixed(
        One(version="1", loses_spend=frozenset({ObjectKind.USER})), One(version="2"), order=(1,)
    ).loses_spend


async def test_a_refusal_of_either_is_right() -> None:
    database = mixed(
        One(version="1", status=400), One(version="2", schema=("1", "2"), status=422)
    ).database

    (truth,) = (await database.truth(cast("Any", None), [], planted_null_user=False)).values()

    assert (truth.status, truth.also) == (422, (400,))
    assert database.name_other("400") == "400"
    assert database.name_other("422") == "422"


def test_a_fleet_of_two_is_not_for_containers() -> None:
    place = ContainerContext("fleet", 1, 1, 2, "dsn", None, SETTINGS)

    with pytest.raises(SetupError, match="STACK=embedded"):
        mixed(One(version="1"), One(version="2")).container(place)


def test_two_that_are_ready_in_different_ways_cannot_be_one_fleet() -> None:
    with pytest.raises(SetupError, match="ready"):
        mixed(One(version="1"), One(version="2", readiness_path="/elsewhere"))


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("mixed:a+b", ("a", "b")),
        ("mixed: litellm==1.92.2 + litellm==1.94.0", ("litellm==1.92.2", "litellm==1.94.0")),
    ],
)
def test_a_name_is_of_two(name: str, members: tuple[str, str]) -> None:
    assert member_names(name) == members


@pytest.mark.parametrize("name", ["mixed:", "mixed:a", "mixed:a+", "mixed:a+b+c", "mixed:+"])
def test_a_name_that_is_not_of_two_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Write mixed:A"):
        kind_of(name).choose(name)


def test_one_variant_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        kind_of("mixed:envelope+envelope").choose("mixed:envelope+envelope")
    with pytest.raises(UsageError, match="twice"):
        kind_of("mixed:litellm==1.94.0+litellm == 1.94.0").choose(
            "mixed:litellm==1.94.0+litellm == 1.94.0"
        )


def test_an_unknown_member_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"\[enveloppe\]. Did you mean \[envelope\]"):
        kind_of("mixed:enveloppe+recommended").choose("mixed:enveloppe+recommended")


async def test_a_choice_has_the_name_of_both_and_makes_both() -> None:
    name = "mixed:litellm_1_84+recommended"
    choice = kind_of(name).choose(name)

    target = await kind_of_choice(choice).target(choice, Silence())

    assert choice.name == name
    assert target.members == ("litellm_1_84", "recommended")
    assert target.logs_reads


async def test_a_release_and_a_reference_variant_have_no_common_tables() -> None:
    reference = kind_of("recommended").choose("recommended")
    target = await kind_of("recommended").target(reference, Silence())

    with pytest.raises(UsageError, match="Mix two releases, or two variants of the reference"):
        mixed(
            target,
            One(
                version="2",
                schema=("20250326162113_baseline",),
                readiness_path=target.readiness_path,
            ),
        )


@pytest.mark.parametrize(
    ("name", "ttl_s"),
    [("mixed:litellm_1_84+recommended", 1.0), ("mixed:litellm==1.92.2+litellm==1.94.0", 5.0)],
)
def test_times_scale_only_where_both_have_times_that_scale(name: str, ttl_s: float) -> None:
    assert load_scenario("smoke", Changes(variants=(name,))).ttl_s == ttl_s
