"""Work goes on only while everything that it needs is alive."""

from __future__ import annotations

import asyncio

import pytest

from harness.errors import ServerDiedError
from harness.process.waiting import wait_until, while_alive


async def _never() -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def _valkey_died() -> str:
    return "The Valkey ended."


async def test_work_is_done_while_nothing_dies() -> None:
    done = list[str]()

    async def work() -> None:
        done.append("work")

    await while_alive(work(), _never, _never)
    assert done == ["work"]


async def test_a_death_ends_the_work_which_cleans_up_first() -> None:
    begun, cleaned = asyncio.Event(), list[str]()

    async def work() -> None:
        begun.set()
        try:
            await _never()
        finally:
            await asyncio.sleep(0)
            cleaned.append("work")

    async def died_later() -> str:
        await begun.wait()
        return "The Valkey ended."

    with pytest.raises(ServerDiedError, match=r"^The Valkey ended\. The run ends here\.$"):
        await while_alive(work(), _never, died_later, consequence="The run ends here.")
    assert cleaned == ["work"]


async def test_work_that_ended_well_at_the_same_moment_is_done() -> None:
    async def work() -> None:
        """Nothing to wait for."""

    await while_alive(work(), _valkey_died)


async def test_a_death_explains_the_error_of_the_same_moment() -> None:
    async def work() -> None:
        raise ConnectionError("refused")

    with pytest.raises(ServerDiedError, match=r"^The Valkey ended\.$"):
        await while_alive(work(), _valkey_died)


async def test_an_error_without_a_death_is_the_works_own() -> None:
    async def work() -> None:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        await while_alive(work(), _never)


async def test_a_wait_gives_the_first_answer_that_is_true() -> None:
    answers = iter([0, 0, 7, 8])

    async def ask() -> int:
        return next(answers)

    assert await wait_until(ask, poll_s=0) == 7
    assert await wait_until(lambda: next(answers), poll_s=0) == 8


async def test_a_wait_whose_time_is_up_gives_the_last_answer() -> None:
    assert await wait_until(lambda: "", 0.0) == ""


async def test_an_error_ends_a_wait_unless_it_is_one_to_try_again_after() -> None:
    errors: list[Exception] = [OSError("refused"), ValueError("dead")]

    def ask() -> bool:
        raise errors.pop(0)

    with pytest.raises(ValueError, match="dead"):
        await wait_until(ask, poll_s=0, retry=(OSError,))


async def test_when_the_time_is_up_the_error_to_try_again_after_is_raised() -> None:
    def ask() -> bool:
        raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        await wait_until(ask, 0.0, retry=(OSError,))
