from __future__ import annotations

import logging
import time

import pytest

from harness.authcache.cache import Entry, OnFailure
from harness.authcache.cache import SourceUnavailableError as Away
from harness.authcache.objects import Team, User
from harness.authcache.switches import Switches
from harness.authcache.tiers import WrittenBy, _frame
from harness.authcache.words import KeyScope, ObjectKind, Op, ReadReason, Tier, WriteOutcome
from harness.errors import DecodeError
from tests.authcache.fakes import TTL_S, Source, World, seen, switched, trace

TEAM, USER = ObjectKind.TEAM, ObjectKind.USER
UNREADABLE = b'{"not": "a team"}'
OK, ERROR, SKIPPED = WriteOutcome.OK, WriteOutcome.ERROR, WriteOutcome.SKIPPED


async def plant(world: World, key: str, payload: bytes) -> None:
    assert world.cache.redis is not None
    await world.cache.redis.set(key, payload, time.time(), TTL_S)


async def test_what_memory_holds_but_cannot_read_ends_the_lookup(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, source, one = World(), Source(), trace()
    await plant(world, "t", UNREADABLE)
    await world.cache.peek(TEAM, "t", trace())  # backfills memory, readable or not
    caplog.clear()

    found = await world.cache.load(TEAM, "t", source, one)

    assert seen(one) == ["memory load deserialize_failure"]
    assert one.source_reads == [(TEAM, ReadReason.DESERIALIZE_FAILURE)]
    assert found is not None
    assert found.tier == "source"
    assert world.recorder.gets["lookup"] == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


async def test_what_redis_holds_but_cannot_read_ends_the_lookup() -> None:
    world, one = World(), trace()
    await plant(world, "t", UNREADABLE)

    await world.cache.load(TEAM, "t", Source(), one)

    assert seen(one) == ["memory load miss", "redis load deserialize_failure"]
    assert one.source_reads == [(TEAM, ReadReason.DESERIALIZE_FAILURE)]
    assert world.recorder.decodes == 1


async def test_live_objects_are_backfilled_only_when_they_could_be_read() -> None:
    world, one = World(switched(memory_payload="object")), trace()
    await plant(world, "t", UNREADABLE)

    assert await world.cache.peek(TEAM, "t", one) is None

    assert seen(one) == ["memory peek miss", "redis peek deserialize_failure"]
    assert world.cache.memory.get("t") is None


async def test_a_live_object_of_another_kind_is_a_silent_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, one = World(switched(memory_payload="object", redis="off")), trace()
    await world.cache.put(Entry(TEAM, "same id", Team(team_id="same id"), time.time()))

    found = await world.cache.load(USER, "same id", Source(User(user_id="same id")), one)

    assert seen(one) == ["memory load deserialize_failure"]
    assert one.source_reads == [(USER, ReadReason.DESERIALIZE_FAILURE)]
    assert found is not None
    assert isinstance(found.value, User)
    assert world.recorder.failed == {(USER, "nothing", KeyScope.TEAM): 1}
    assert caplog.records == []


async def test_the_log_pair_has_the_shape_of_the_issue(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Switches())
    writer = Entry(TEAM, "same id", Team(team_id="same id", team_alias="same id"), time.time())
    await world.cache.put(writer)

    await world.cache.load(USER, "same id", Source(User(user_id="same id")), trace())

    warning, error = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith(
        "CacheCodec.deserialize: validation failed for LiteLLM_UserTable (1 validation error for "
        "LiteLLM_UserTable\nuser_id\n  Field required [type=missing, input_value={'team_alias': "
        "'same id',"
    )
    assert "'teams': []}" in warning.getMessage()
    assert error.levelno == logging.ERROR
    assert error.getMessage() == (
        "AuthCache.load failed to deserialize cached value for key='same id' "
        "model_type=LiteLLM_UserTable"
    )
    for record, signature in ((warning, "codec_validation_failed"), (error, "typed_read_failed")):
        assert record.__dict__["signature"] == signature
        assert record.__dict__["key_scope"] == KeyScope.TEAM


@pytest.mark.parametrize(
    ("on_failure", "levels"),
    [(OnFailure.PAIR, ["WARNING", "ERROR"]), (OnFailure.WARNING, ["WARNING"])],
)
async def test_what_a_reader_says_about_a_value_that_does_not_decode(
    on_failure: OnFailure, levels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    await plant(world, "t", UNREADABLE)

    assert await world.cache.peek(TEAM, "t", trace(), on_failure) is None

    assert world.recorder.failed == {(TEAM, on_failure.value, KeyScope.TEAM): 1}
    assert [record.levelname for record in caplog.records] == levels


@pytest.mark.parametrize("warm", [False, True], ids=["from Redis", "from memory"])
async def test_an_untyped_read_without_a_net_raises(
    warm: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world, one = World(), trace()
    await plant(world, "t", UNREADABLE)
    if warm:
        await world.cache.peek(TEAM, "t", trace())
    caplog.clear()

    with pytest.raises(DecodeError, match="team_id"):
        await world.cache.peek(TEAM, "t", one, OnFailure.RAISE)

    assert seen(one)[-1].endswith("peek deserialize_failure")
    assert world.recorder.failed[TEAM, "nothing", KeyScope.TEAM] == 1
    assert caplog.records == []


async def test_a_foreign_payload_is_counted_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, one = World(switched(codec="envelope")), trace()
    await world.cache.put(Entry(TEAM, "same id", Team(team_id="same id"), time.time()))

    found = await world.cache.load(USER, "same id", Source(User(user_id="same id")), one)

    assert seen(one) == ["memory load deserialize_failure"]
    assert found is not None
    assert isinstance(found.value, User)
    assert world.recorder.failed == {(USER, "nothing", KeyScope.TEAM): 1}
    assert caplog.records == []


async def test_a_dead_redis_is_a_backend_error_and_postgres_answers() -> None:
    world, one = World(), trace()
    world.client.away = True

    found = await world.cache.load(TEAM, "t", Source(), one)

    assert found is not None
    assert seen(one) == ["memory load miss", "redis load backend_error"]
    assert one.source_reads == [(TEAM, ReadReason.BACKEND_ERROR)]
    assert world.recorder.writes == {(Tier.MEMORY, OK, TEAM): 1, (Tier.REDIS, ERROR, TEAM): 1}


async def test_a_write_that_the_breaker_keeps_back_is_skipped() -> None:
    world = World()
    world.client.away = True
    for i in range(4):  # a read and a write each: the breaker opens on the fifth failure
        await world.cache.load(TEAM, f"t{i}", Source(), trace())

    assert world.recorder.writes[Tier.REDIS, ERROR, TEAM] == 2
    assert world.recorder.writes[Tier.REDIS, SKIPPED, TEAM] == 2
    assert len(world.recorder.outages) == 1


async def test_a_dead_postgres_is_counted_and_told() -> None:
    world, one = World(), trace()

    with pytest.raises(Away):
        await world.cache.load(TEAM, "t", Source().away(), one)

    assert world.recorder.read_errors == {TEAM: 1}
    assert one.source_reads == [(TEAM, ReadReason.MISS)]
    assert world.recorder.writes == {}


@pytest.mark.parametrize(
    ("switches", "memory_outcome", "held"),
    [
        (switched(), ERROR, False),
        (switched(codec="raw", memory_payload="object"), OK, True),
    ],
    ids=["encoded", "object"],
)
async def test_an_object_that_cannot_be_encoded_is_counted_and_logged(
    switches: Switches, memory_outcome: WriteOutcome, held: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(switches)
    value = Team(team_id="t", metadata={"lone surrogate": "\ud800"})

    await world.cache.put(Entry(TEAM, "t", value, time.time()))

    assert world.recorder.writes == {
        (Tier.MEMORY, memory_outcome, TEAM): 1,
        (Tier.REDIS, ERROR, TEAM): 1,
    }
    assert (world.cache.memory.get("t") is not None) is held
    assert world.client.sent == {}
    assert [record.__dict__["signature"] for record in caplog.records] == ["encode_failed"]


@pytest.mark.parametrize("op", Op)
async def test_a_codec_of_a_users_own_may_raise_anything(
    op: Op, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, one = World(), trace()
    await plant(world, "t", b"{}")

    def crash(*_: object) -> None:
        raise ZeroDivisionError("in the codec")

    monkeypatch.setattr(world.cache._codec, "decode", crash, raising=False)
    if op is Op.PEEK:
        assert await world.cache.peek(TEAM, "t", one) is None
    else:
        assert await world.cache.load(TEAM, "t", Source(), one) is not None
    assert seen(one)[-1] == f"redis {op} deserialize_failure"


async def test_a_failure_names_the_variant_that_wrote_the_entry() -> None:
    world = World()
    world.cache.writer = "new"
    assert world.cache.redis is not None
    theirs = WrittenBy(time.time(), "old")
    world.client.held["t"] = _frame(UNREADABLE, theirs, theirs.writer)

    await world.cache.peek(TEAM, "t", trace())  # from Redis, which backfills memory
    await world.cache.peek(TEAM, "t", trace())

    assert world.recorder.unread == {(TEAM, "old"): 2}


async def test_what_a_variant_stores_anew_is_of_its_own_writing() -> None:
    world = World(switched(memory_payload="object"))
    world.cache.writer = "new"
    theirs = WrittenBy(time.time(), "old")

    await world.cache.put(Entry(TEAM, "t", Team(team_id="t"), theirs))
    found = await world.cache.peek(TEAM, "t", trace())

    assert found is not None
    assert world.cache.writer_of(found.read_at) == "new"


async def test_without_another_variant_no_writer_is_counted() -> None:
    world = World()
    await plant(world, "t", UNREADABLE)

    await world.cache.peek(TEAM, "t", trace())

    assert not world.recorder.unread
