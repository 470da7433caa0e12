from __future__ import annotations

import asyncio
import tempfile
from contextvars import Context, copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.targets.litellm.inside import pending
from harness.targets.litellm.inside.pending import SpendQueues, Tasks
from harness.targets.litellm.inside.request import Requests
from harness.targets.metrics import Metrics


@pytest.fixture
def requests() -> Requests:
    return Requests(Metrics("x", {}))


async def test_a_task_counts_from_the_answer_to_its_end(requests: Requests) -> None:
    tasks = Tasks(requests.guard)
    tasks.install()
    request = requests.begin()
    go = asyncio.Event()
    work = asyncio.create_task(go.wait())
    assert tasks.unfinished() == 0, "the request itself is pending, its tasks are part of it"
    request.end()
    assert tasks.unfinished() == 1
    go.set()
    await work
    assert tasks.unfinished() == 0


async def test_a_task_of_no_request_does_not_count(requests: Requests) -> None:
    tasks = Tasks(requests.guard)
    tasks.install()
    # A context without what other tests of this process left in theirs.
    work = asyncio.create_task(asyncio.Event().wait(), context=Context())
    assert tasks.unfinished() == 0
    work.cancel()


async def test_a_task_gets_whatever_a_loop_gives_its_factory(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python 3.13 on loops give names and eager_start too."""
    given = list[dict[str, object]]()

    class Newer(asyncio.Task[None]):
        def __init__(self, coro: Any, *, loop: Any, eager_start: Any, **options: Any) -> None:
            super().__init__(coro, loop=loop, **options)
            given.append({"eager_start": eager_start, **options})

    async def nothing() -> None:
        """Done at once."""

    tasks = Tasks(requests.guard)
    tasks.install()
    loop = asyncio.get_running_loop()
    factory: Any = loop.get_task_factory()
    request = requests.begin()
    context = copy_context()
    request.end()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "Task", Newer)
        work = factory(loop, nothing(), name="work", context=context, eager_start=None)
    assert tasks.unfinished() == 1
    await work
    assert work.get_name() == "work"
    assert given == [{"eager_start": None, "name": "work", "context": context}]


async def test_a_loop_that_a_request_started_is_found_out_and_its_name_means_nothing(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(requests.guard)
    tasks.install()

    async def work(until: asyncio.Event) -> None:
        await until.wait()

    never, soon = asyncio.Event(), asyncio.Event()
    request = requests.begin()
    daemon = asyncio.create_task(work(never))
    request.end()
    assert tasks.unfinished() == 1
    monkeypatch.setattr(pending, "DAEMON_AFTER_S", -1.0)
    assert tasks.unfinished() == 0
    monkeypatch.setattr(pending, "DAEMON_AFTER_S", 1e9)
    second = requests.begin()
    later = asyncio.create_task(work(soon))
    second.end()
    assert tasks.unfinished() == 1, "a later task of that name is waited for"
    soon.set()
    await later
    assert tasks.unfinished() == 0
    daemon.cancel()


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_task_that_will_sleep_until_it_is_a_daemon_is_not_waited_for(
    requests: Requests, *, uvloop: bool
) -> None:
    async def renews() -> None:
        async def nap() -> None:
            await asyncio.sleep(300.0)

        await nap()

    async def naps() -> None:
        await asyncio.sleep(0.001)

    async def asked() -> list[int]:
        tasks = Tasks(requests.guard)
        tasks.install()
        request = requests.begin()
        renewal = asyncio.create_task(renews())
        soon = asyncio.create_task(naps())
        working = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        request.end()
        seen = [tasks.unfinished()]
        await soon
        seen.append(tasks.unfinished())
        working.cancel()
        await asyncio.wait([working])
        seen.append(tasks.unfinished())
        renewal.cancel()
        return seen

    factory = pytest.importorskip("uvloop").new_event_loop if uvloop else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(asked()) == [2, 1, 0]


async def test_a_task_that_starts_long_after_its_request_has_its_own_time(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(requests.guard)
    tasks.install()
    request = requests.begin()
    request.end()
    request.ended_at -= 100.0
    monkeypatch.setattr(pending, "DAEMON_AFTER_S", 50.0)
    go = asyncio.Event()
    late = asyncio.create_task(go.wait())
    assert tasks.unfinished() == 1
    go.set()
    await late


async def test_what_a_daemon_starts_is_its_own_unless_it_is_for_a_later_request(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As LiteLLM's logging worker does: one loop, that runs each coroutine in its own context."""
    tasks = Tasks(requests.guard)
    tasks.install()
    work = asyncio.Queue[tuple[Context, Any] | None]()
    started = list[asyncio.Task[Any]]()
    turn = asyncio.Event()

    async def helper(context: Context, coroutine: Any) -> None:
        started.append(context.run(asyncio.create_task, coroutine))
        turn.set()
        await started[-1]

    async def loop() -> None:
        while (item := await work.get()) is not None:
            started.append(asyncio.create_task(helper(*item)))

    first = requests.begin()
    daemon = asyncio.create_task(loop())
    first.end()
    monkeypatch.setattr(pending, "DAEMON_AFTER_S", -1.0)
    assert tasks.unfinished() == 0
    monkeypatch.setattr(pending, "DAEMON_AFTER_S", 1e9)
    second = requests.begin()
    go = asyncio.Event()
    work.put_nowait((copy_context(), go.wait()))
    second.end()
    await turn.wait()
    assert tasks.unfinished() == 1, "the coroutine of the second request; the helper is the loop's"
    go.set()
    work.put_nowait(None)
    await asyncio.gather(daemon, *started)
    assert tasks.unfinished() == 0


async def test_spend_waits_in_queues_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spend: asyncio.Queue[int] = asyncio.Queue()
    tags: asyncio.Queue[int] = asyncio.Queue()
    written = asyncio.Event()

    async def update_spend(*_: object) -> None:
        while not spend.empty():
            spend.get_nowait()
        await written.wait()

    writer = SimpleNamespace(
        spend_update_queue=SimpleNamespace(update_queue=spend),
        daily_tag_spend_update_queue=SimpleNamespace(update_queue=tags),
    )
    proxy = SimpleNamespace(
        proxy_logging_obj=SimpleNamespace(db_spend_update_writer=writer),
        prisma_client=SimpleNamespace(spend_log_transactions=[{}]),
        db_writer_client=None,
        update_spend=update_spend,
    )
    queues = SpendQueues(proxy, SimpleNamespace(_queue=None))
    spend.put_nowait(1)
    tags.put_nowait(1)
    assert queues.waiting() == 2, "one update and one log row; tags have no spend"
    proxy.prisma_client.spend_log_transactions.clear()
    queues.flush()
    queues.flush()
    await asyncio.sleep(0)
    assert spend.empty()
    assert queues.waiting() == 1, "the write itself is under way"
    another = SpendQueues(proxy, SimpleNamespace(_queue=None))
    spend.put_nowait(2)
    another.flush()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not spend.empty(), "one worker writes at a time"
    spend.get_nowait()
    written.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert queues.waiting() == 0
