"""The questions of one request: from memory at once, beyond it in a coroutine."""

from __future__ import annotations

import pytest

from harness.authcache.cache import AuthCache
from harness.authcache.codecs import load_codec
from harness.authcache.digest import digest
from harness.authcache.objects import Team, limit_fields
from harness.authcache.switches import Switches
from harness.authcache.tiers import MemoryTier
from harness.authcache.trace import NullRecorder, Trace
from harness.authcache.words import ObjectKind
from harness.domain.served import Served
from harness.targets.reference.problems import UnavailableError
from harness.targets.reference.request_lookups import ABSENT, RequestLookups

TEAM = Team(team_id="t", max_budget=1.0)


def asked(*, told: bool = True) -> RequestLookups:
    cache = AuthCache(
        switches=Switches(codec="keep_none", redis="off"),
        codec=load_codec("keep_none"),
        memory=MemoryTier(200),
        redis=None,
        recorder=NullRecorder(),
        ttl_s=60.0,
    )
    return RequestLookups(cache, Trace(), [] if told else None)


async def row(team_id: str) -> Team | None:
    return TEAM if team_id == "t" else None


async def away(_: str) -> Team | None:
    raise OSError("no Postgres")


async def test_the_second_question_is_answered_from_memory_at_once() -> None:
    one = asked()
    assert one.load(ObjectKind.TEAM, "k", row, "t") is None
    assert (await one.beyond()).value == TEAM
    found = one.load(ObjectKind.TEAM, "k", row, "t")
    assert found is not None
    assert found.value == TEAM
    assert one.served is not None
    right = digest(ObjectKind.TEAM, limit_fields(TEAM))
    assert [(s.object, s.tier, s.digest) for s in one.served] == [
        ("team", "source", right),
        ("team", "memory", right),
    ]


async def test_an_object_that_is_not_there_is_served_as_absent() -> None:
    one = asked()
    assert one.load(ObjectKind.TEAM, "k", row, "other") is None
    assert await one.beyond() == ABSENT
    assert one.served == [Served("team", "source", digest(ObjectKind.TEAM, None), None)]


async def test_without_the_header_nothing_is_noted() -> None:
    one = asked(told=False)
    assert one.load(ObjectKind.TEAM, "k", row, "t") is None
    await one.beyond()
    assert one.load(ObjectKind.TEAM, "k", row, "t") is not None
    assert one.served is None


async def test_a_database_that_does_not_answer_is_an_answer_to_the_client() -> None:
    one = asked()
    assert one.load(ObjectKind.TEAM, "k", away, "t") is None
    with pytest.raises(UnavailableError, match="the team is not cached"):
        await one.beyond()
    assert one.served == []
