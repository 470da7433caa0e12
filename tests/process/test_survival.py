"""Work goes on only while everything that it needs is alive."""

from __future__ import annotations

import asyncio

import pytest

from harness.errors import ServerDiedError
from harness.process.survival import while_alive


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
        await while_alive(work(), _never, died_later, so="The run ends here.")
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
