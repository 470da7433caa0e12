"""Work ends when it is done or when it is stopped, and has cleaned up either way."""

from __future__ import annotations

import asyncio
import signal

import pytest

from harness.process.stop import Stop


class Work:
    """Says how far it came; begins by saying so, and waits for a go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.cleaning = asyncio.Event()
        self.cleaned = asyncio.Event()
        self.clean_up_done = False
        self.done = False

    async def __call__(self, failure: Exception | None = None) -> None:
        self.begun.set()
        try:
            await self.go.wait()
            self.done = True
        finally:
            self.cleaning.set()
            await self.cleaned.wait()
            self.clean_up_done = True
            if failure is not None:
                raise failure


async def test_work_that_is_not_stopped_is_done() -> None:
    work, stop, told = Work(), Stop(), list[str]()
    work.go.set()
    work.cleaned.set()
    await stop.cancels(work(), lambda: told.append("cancelled"))
    assert work.done
    assert told == []
    assert stop.exit_code == 0


async def test_a_stop_cancels_the_work_and_waits_while_it_cleans_up() -> None:
    work, stop, told = Work(), Stop(), list[str]()
    whole = asyncio.create_task(stop.cancels(work(), lambda: told.append("cancelled")))
    await work.begun.wait()
    stop.ask(signal.SIGTERM)
    stop.ask(signal.SIGINT)
    await work.cleaning.wait()
    assert told == ["cancelled"]
    assert not whole.done()
    work.cleaned.set()
    await whole
    assert work.clean_up_done
    assert not work.done
    assert stop.exit_code == 143, "the first signal decides"


@pytest.mark.parametrize("stopped", [False, True])
async def test_what_the_work_raises_is_raised(stopped: bool) -> None:
    work, stop = Work(), Stop()
    work.cleaned.set()
    whole = asyncio.create_task(stop.cancels(work(ValueError("left over"))))
    await work.begun.wait()
    if stopped:
        stop.ask(signal.SIGINT)
    else:
        work.go.set()
    with pytest.raises(ValueError, match="left over"):
        await whole


async def test_cancelling_the_wait_cancels_the_work() -> None:
    work, stop = Work(), Stop()
    work.cleaned.set()
    whole = asyncio.create_task(stop.cancels(work()))
    await work.begun.wait()
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert work.clean_up_done
