"""Folders that are whole or not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.targets.litellm.folders import atomic_folder, remove_whole, sole_maker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "environment"


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.parent.iterdir() if not one.name.endswith(".lock"))


def test_a_folder_appears_only_once_it_is_whole(folder: Path) -> None:
    with atomic_folder(folder) as partial:
        (partial / "half").touch()
        assert not folder.exists()
        assert partial.parent == folder.parent
    assert names(folder) == ["environment"]
    assert (folder / "half").exists()


def test_it_takes_the_place_of_one_that_was_not_whole(folder: Path) -> None:
    folder.mkdir()
    (folder / "old").touch()
    with atomic_folder(folder) as partial:
        (partial / "new").touch()
    assert [one.name for one in folder.iterdir()] == ["new"]


def test_nothing_is_left_of_one_that_failed(folder: Path) -> None:
    def fail(partial: Path) -> None:
        (partial / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError), atomic_folder(folder) as partial:
        fail(partial)
    assert names(folder) == []


def test_only_one_of_two_removers_removes_it(folder: Path) -> None:
    folder.mkdir()
    (folder / "file").touch()
    assert remove_whole(folder)
    assert not remove_whole(folder)
    assert names(folder) == []


async def test_the_second_maker_waits_for_the_first(folder: Path) -> None:
    order = []
    second_waits = asyncio.Event()

    async def second() -> None:
        async with sole_maker(folder, second_waits.set):
            order.append("second")

    async with sole_maker(folder, lambda: order.append("waited")):
        task = asyncio.create_task(second())
        await second_waits.wait()
        order.append("first")
    await task
    assert order == ["first", "second"]


async def test_a_maker_sweeps_up_what_a_killed_one_left(folder: Path) -> None:
    for suffix in ("partial", "removed"):
        (folder.parent / f".environment.x.{suffix}").mkdir()
    (folder.parent / ".other.x.partial").mkdir()
    async with sole_maker(folder, lambda: None):
        assert names(folder) == [".other.x.partial"]
