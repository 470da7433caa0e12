"""Nothing that the instrumentation does reaches the release: not its errors, not its absence."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from harness.domain.series import HookPoint
from harness.targets.litellm.inside import controls, instrument, kinds, lookups, serve
from harness.targets.litellm.inside.guard import Ended, Guard, Watch
from harness.targets.litellm.inside.instrument import Instruments, ScopedLogCounter
from harness.targets.litellm.inside.lookups import Lookups
from harness.targets.litellm.inside.pending import SpendQueues, Tasks
from harness.targets.litellm.inside.request import Requests
from harness.targets.litellm.inside.writes import Writes
from tests.targets.litellm.inside.caches import Cache, Codec
from tests.targets.litellm.inside.release import Release, Worker

WRAPPED = sorted(set(HookPoint) - {HookPoint.REQUESTS})


class PlantedError(Exception):
    def __str__(self) -> str:
        raise ValueError("an error that cannot be shown")


def planted(*_: Any, **__: Any) -> Any:
    raise PlantedError


class Calls:
    """A function of a release, its calls, and what a watch of it sees."""

    def __init__(self, plan: str, raises: bool) -> None:
        self.plan, self.raises = plan, raises
        self.calls: list[tuple[Any, ...]] = []
        self.ended: list[Ended] = []
        self.error = KeyError("the release's own")
        self.value = object()
        self.registry = CollectorRegistry()
        self.guard = Guard(self.registry, "x")

    def original(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        if self.raises:
            raise self.error
        return self.value

    async def awaited(self, *args: Any, **kwargs: Any) -> Any:
        return self.original(*args, **kwargs)

    def watch(self, *_: Any, **__: Any) -> Watch:
        if self.plan == "before":
            planted()
        if self.plan == "nothing":
            return
        self.ended.append((yield))
        if self.plan == "after":
            planted()
        if self.plan == "on":
            yield

    def unfit(self) -> Watch:
        """Takes no arguments."""
        yield

    def errors(self) -> float:
        samples = [s for family in self.registry.collect() for s in family.samples]
        return sum(s.value for s in samples if s.name == "authcache_instrument_errors_total")


PLANS = st.sampled_from(["watches", "nothing", "before", "after", "on", "unfit"])
KEYWORDS = st.dictionaries(
    st.sampled_from(["point", "watch", "original", "function", "args", "key"]), st.integers()
)


@given(PLANS, st.booleans(), st.booleans(), st.lists(st.integers()), KEYWORDS)
def test_whatever_a_watch_does_the_call_is_made_once_and_ends_as_it_does(
    plan: str, raises: bool, waits: bool, args: list[int], kwargs: dict[str, int]
) -> None:
    calls = Calls(plan, raises)
    watch: Callable[..., Watch] = calls.watch
    if plan == "unfit":
        watch, args = calls.unfit, [1, *args]
    outcome: Any
    try:
        if waits:
            wrapped = calls.guard.awaited(HookPoint.CODEC, calls.awaited, watch)
            outcome = asyncio.run(wrapped(*args, **kwargs))
        else:
            outcome = calls.guard.sync(HookPoint.CODEC, calls.original, watch)(*args, **kwargs)
    except KeyError as error:
        outcome = error
    assert calls.calls == [(tuple(args), kwargs)]
    assert outcome is (calls.error if raises else calls.value)
    assert calls.errors() == (plan in {"before", "after", "on", "unfit"})
    seen = Ended(None, calls.error) if raises else Ended(calls.value, None)
    assert calls.ended == ([seen] if plan in {"watches", "after", "on"} else [])


async def test_a_call_that_is_cancelled_is_cancelled() -> None:
    calls = Calls("watches", raises=False)

    async def forever(*_: Any) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(calls.guard.awaited(HookPoint.CODEC, forever, calls.watch)())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(end.error) for end in calls.ended] == [asyncio.CancelledError]


async def test_a_call_that_is_given_up_is_no_error() -> None:
    """As at the end of a loop: the coroutine is closed in another context than it began in."""
    calls = Calls("watches", raises=False)

    def watch() -> Watch:
        token = lookups.LOOKUP.set(None)
        try:
            yield
        finally:
            lookups.LOOKUP.reset(token)

    async def forever() -> None:
        await asyncio.Event().wait()

    coroutine = calls.guard.awaited(HookPoint.CODEC, forever, watch)()

    async def begin() -> None:
        coroutine.send(None)

    await asyncio.create_task(begin())
    coroutine.close()
    assert calls.errors() == 0


def test_a_kind_of_error_is_shown_once_and_counted_always(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guard = Guard(CollectorRegistry(), "x")
    for _ in range(3):
        assert guard.run(HookPoint.CODEC, planted) is None
    shown = capsys.readouterr().err
    assert shown.count("[codec] failed") == 1
    assert "in planted" in shown
    assert "PlantedError" in shown


def test_an_error_counts_though_stderr_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    calls = Calls("before", raises=False)
    assert calls.guard.sync(HookPoint.CODEC, calls.original, calls.watch)() is calls.value
    assert calls.errors() == 1


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Release:
    return Release(monkeypatch)


async def plain(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any], int, int]:
    """What the release does without any instrumentation."""
    release = Release(monkeypatch)
    Worker(release)
    replies: list[Any] = []

    async def send(message: Any) -> None:
        replies.append(message)

    for _ in range(2):
        await release.app({"type": "http"}, None, send)
    await asyncio.gather(*release.tasks)
    return replies, release.redis.client.sent, release.reads, release.spend.qsize()


async def watched(worker: Worker) -> tuple[list[Any], list[Any], int, int]:
    """The same under instrumentation, after its controls."""
    release = worker.release
    sent, reads = len(release.redis.client.sent), release.reads
    replies = await worker.chat() + await worker.chat()
    return replies, release.redis.client.sent[sent:], release.reads - reads, release.spend.qsize()


async def test_every_point_counts_in_its_control_and_nothing_of_that_is_counted(
    release: Release,
) -> None:
    worker = Worker(release)
    await worker.start()
    counted = await worker.page()
    assert await worker.points() == {}
    assert counted.sum("authcache_instrument_errors_total") == 0
    errors = {
        dict(labels)["point"]
        for (name, labels), _ in counted.items()
        if name == "authcache_instrument_errors_total"
    }
    assert errors == set(HookPoint), "each starts at 0"
    for name in ("authcache_lookups_total", "authcache_source_reads_total", "http_requests_total"):
        assert counted.sum(name) == 0
    assert not counted.sum("authcache_pending")
    assert {command for command, *_ in release.redis.client.sent} == {"GET"}
    assert (release.reads, release.spend.qsize()) == (1, 0)
    assert worker.instruments.requests.guard.seen == set(), "nothing was seen under load yet"


async def test_instrumentation_changes_nothing_and_counts(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(release)
    await worker.start()
    assert await watched(worker) == await plain(monkeypatch)
    counted = await worker.page()
    assert await worker.points() == {}
    assert counted.sum("http_requests_total", status="200", key_scope="user") == 2
    assert counted.by("authcache_source_reads_total", "object", "reason") == {
        ("user", "deserialize_failure"): 1
    }
    assert counted.sum("authcache_lookups_total", outcome="deserialize_failure") == 1


@pytest.mark.parametrize("point", WRAPPED)
async def test_a_point_that_cannot_be_wrapped_is_missing_and_nothing_else_changes(
    release: Release, point: HookPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = Guard.wrap

    def refusing(self: Guard, asked: HookPoint, how: Callable[[], None]) -> None:
        wrap(self, asked, planted if asked is point else how)

    monkeypatch.setattr(Guard, "wrap", refusing)
    worker = Worker(release)
    await worker.start()
    assert await watched(worker) == await plain(monkeypatch)
    points = await worker.points()
    assert set(points) == {point}
    assert points[point].startswith("cannot be wrapped: ")
    assert await worker.errors() == {}


def _replaced(name: str) -> Callable[[Release, pytest.MonkeyPatch], None]:
    """The release makes a new cache while it starts."""

    def replace(release: Release, _: pytest.MonkeyPatch) -> None:
        if name == "user_api_key_cache":
            release.proxy.user_api_key_cache = Cache(release.redis, release.codec)
        else:
            release.proxy.proxy_logging_obj.internal_usage_cache.dual_cache = Cache(release.redis)

    return replace


def _idle(
    owner: Any, name: str, value: Any = None
) -> Callable[[Release, pytest.MonkeyPatch], None]:
    """What wraps, or counts, does nothing."""
    return lambda _, patch: patch.setattr(owner, name, lambda *_a, **_k: value)


DEAF: dict[HookPoint, Callable[[Release, pytest.MonkeyPatch], None]] = {
    HookPoint.AUTH_CACHE: _replaced("user_api_key_cache"),
    HookPoint.INTERNAL_USAGE_CACHE: _replaced("internal_usage_cache"),
    HookPoint.REDIS_CACHE: _idle(Lookups, "wrap_redis"),
    HookPoint.CODEC: _idle(Lookups, "wrap_codec"),
    HookPoint.REDIS_CLIENT: _idle(Writes, "wrap_client"),
    HookPoint.STATEMENTS: _idle(instrument.StatementObserver, "_sent"),
    HookPoint.LOG_RECORDS: _idle(ScopedLogCounter, "install"),
    HookPoint.SPEND_QUEUES: _idle(SpendQueues, "waiting", 0),
    HookPoint.TASKS: _idle(Tasks, "install"),
}
"""By point: how it can be wrapped without error, and count nothing."""


@pytest.mark.parametrize("point", DEAF)
async def test_a_point_that_is_wrapped_and_counts_nothing_is_not_instrumented(
    release: Release, point: HookPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_startup = Instruments.after_startup

    async def deafened(self: Instruments) -> None:
        if point in {HookPoint.AUTH_CACHE, HookPoint.INTERNAL_USAGE_CACHE}:
            DEAF[point](release, monkeypatch)
        await after_startup(self)

    if point not in {HookPoint.AUTH_CACHE, HookPoint.INTERNAL_USAGE_CACHE}:
        DEAF[point](release, monkeypatch)
    monkeypatch.setattr(Instruments, "after_startup", deafened)
    worker = Worker(release)
    await worker.start()
    points = await worker.points()
    assert set(points) == {point}
    assert points[point].startswith("its control failed: AssertionError: ")


async def test_a_control_that_never_ends_does_not_keep_a_release_from_starting(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forever(**_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(controls, "PATIENCE_S", 0.0)
    release.proxy.prisma_client.db.litellm_usertable.find_unique = forever
    worker = Worker(release)
    await worker.start()
    assert "TimeoutError" in (await worker.points())[HookPoint.STATEMENTS]


@pytest.mark.parametrize("point", [HookPoint.AUTH_CACHE, HookPoint.CODEC, HookPoint.GETTERS])
async def test_a_point_that_load_passes_by_is_not_instrumented_from_the_first_answer_on(
    release: Release, point: HookPoint
) -> None:
    worker = Worker(release)
    await worker.start()
    add = set.add

    class Forgetful(set[HookPoint]):
        def add(self, item: HookPoint, /) -> None:
            if item is not point:
                add(self, item)

    worker.instruments.requests.guard.seen = Forgetful()
    assert await worker.points() == {}
    await worker.chat()
    reason = "it has counted nothing although requests were answered"
    assert await worker.points() == {point: reason}


PLANTS: dict[HookPoint, tuple[Any, str]] = {
    HookPoint.REQUESTS: (Requests, "begin"),
    HookPoint.TASKS: (Tasks, "_track"),
    HookPoint.AUTH_CACHE: (Lookups, "_note"),
    HookPoint.INTERNAL_USAGE_CACHE: (kinds, "of_key"),
    HookPoint.REDIS_CACHE: (lookups.OpenLookup, "__init__"),
    HookPoint.CODEC: (kinds, "of_model"),
    HookPoint.REDIS_CLIENT: (Writes, "_asked"),
    HookPoint.STATEMENTS: (instrument.StatementObserver, "_sent"),
    HookPoint.GETTERS: (lookups, "GETTER"),
    HookPoint.LOG_RECORDS: (instrument, "signature"),
    HookPoint.SPEND_QUEUES: (SpendQueues, "waiting"),
}
"""By point: what fails within its wrapper once the controls are done."""


class Unset:
    """A context variable that fails."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """As a variable is made."""

    get = set = reset = planted


@pytest.mark.parametrize("point", PLANTS)
async def test_an_error_within_a_wrapper_is_counted_and_the_release_does_not_notice(
    release: Release, point: HookPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(release)
    await worker.start()
    owner, name = PLANTS[point]
    with monkeypatch.context() as patch:
        if point is HookPoint.REDIS_CACHE:
            patch.setattr(lookups, "LOOKUP", Unset())
        else:
            patch.setattr(owner, name, Unset() if name == "GETTER" else planted)
        did = await watched(worker)
        await worker.page("name[]=authcache_pending")
    assert did == await plain(monkeypatch)
    errors = await worker.errors()
    assert errors[(point.value,)] > 0
    counted = await worker.page()
    types = counted.by("authcache_instrument_error_types", "point", "error")
    assert types[point.value, "PlantedError"] == errors[(point.value,)]


async def test_a_reply_goes_out_though_its_served_header_fails(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(release)
    await worker.start()
    with monkeypatch.context() as patch:
        patch.setattr(serve, "format_served", planted)
        did = await watched(worker)
    assert did == await plain(monkeypatch)
    assert await worker.errors() == {("requests",): 2}


async def test_a_request_that_raises_raises_the_same(release: Release) -> None:
    worker = Worker(release)
    await worker.start()
    broken = ConnectionResetError("the client is gone")

    async def gone(*_: Any, **__: Any) -> Any:
        raise broken

    release.auth.get_key_object = gone
    with pytest.raises(ConnectionResetError) as caught:
        await worker.chat()
    assert caught.value is broken
    counted = await worker.page()
    assert counted.sum("http_requests_total", status="500") == 1
    assert await worker.errors() == {}


async def test_without_the_codec_a_value_that_does_not_decode_is_neither_hit_nor_failure(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case of truth.md's plant 25: the release decodes, and nothing shows how it ended."""
    _idle(Lookups, "wrap_codec")(release, monkeypatch)
    await _not_seen(release, monkeypatch, "its control failed")


async def test_where_another_codec_decodes_the_wrapped_one_is_not_instrumented(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case of truth.md's plant 26: the codec is wrapped, counts, and sees no failure."""

    class Moved(Codec):
        """The release goes on to use this one, and leaves the other behind."""

    release.proxy.user_api_key_cache.codec = Moved
    await _not_seen(release, monkeypatch, lookups.UNSEEN)


async def _not_seen(release: Release, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    worker = Worker(release)
    await worker.start()
    assert await watched(worker) == await plain(monkeypatch)
    points = await worker.points()
    assert list(points) == [HookPoint.CODEC]
    assert points[HookPoint.CODEC].startswith(reason)
    counted = await worker.page()
    assert counted.by("authcache_lookups_total", "outcome", object="user") == {("hit",): 1}
    assert counted.by("authcache_source_reads_total", "object", "reason") == {("user", "direct"): 1}
    assert await worker.errors() == {}
