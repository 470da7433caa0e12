from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SetupError, UnknownNameError, UsageError
from harness.targets.litellm import resolve
from harness.targets.litellm.environment import (
    Environment,
    environment_folder,
    installed,
    open_environment,
)
from harness.targets.litellm.install import ensure_environment, remove
from harness.targets.litellm.listing import list_releases
from harness.targets.litellm.releases import Release, release_of
from tests.targets.litellm.conftest import HASH
from tests.targets.litellm.fake_uv import FakeUv
from tests.targets.litellm.said import Said

Known = Callable[[str], Release]
pytestmark = pytest.mark.usefixtures("cache", "fake_uv")


def there(path: Path) -> bool:
    return path.exists()


def left(cache: Path) -> list[str]:
    """What is in the cache beside locks."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another process meets the condition
            await asyncio.sleep(0.01)


async def test_an_environment_is_made_once_and_found_afterwards(
    cache: Path, fake_uv: FakeUv, known: Known
) -> None:
    release, said = known("1.84.0rc1"), Said()

    made = await ensure_environment(release, said)
    found = await ensure_environment(release, Said())

    assert made == found
    assert fake_uv.calls() == ["venv", "pip install"]
    assert made.folder == environment_folder(release)
    assert left(cache) == [made.folder.name]
    assert made.folder.name.startswith("1.84.0rc1-py3.")
    assert made.record.packages == {"litellm": "1.84.0rc1", "redis": "8.1.0"}
    assert made.record.recorded_pins
    assert made.version == "1.84.0rc1"
    assert made.python.exists()
    assert made.extras_migrations.parents[1] == made.site_packages
    assert made.installed_bytes > 0
    assert not made.has_prisma_engine
    assert any("installing 2 packages" in line and str(cache) in line for line in said.lines)
    assert any("2 packages, 0 MB, installed in" in line for line in said.lines)


async def test_new_pins_are_a_new_environment(cache: Path, known: Known) -> None:
    release = known("1.84.0rc1")
    old = await ensure_environment(release, Said())
    with (cache.parents[2] / "pins" / "1.84.0rc1.txt").open("a") as pins:
        pins.write(f"uvicorn==0.33.0{HASH}")

    new = await ensure_environment(release, Said())

    assert new.folder != old.folder
    assert installed() == sorted([old, new], key=lambda one: one.folder.name)


async def test_two_that_come_together_make_one(cache: Path, fake_uv: FakeUv, known: Known) -> None:
    release, said = known("1.84.0rc1"), Said()
    other = known("1.91.0")

    first, second, third = await asyncio.gather(
        ensure_environment(release, said),
        ensure_environment(release, said),
        ensure_environment(other, said),
    )

    assert first == second != third
    assert sorted(fake_uv.calls()) == ["pip install"] * 2 + ["venv"] * 2
    assert left(cache) == sorted([first.folder.name, third.folder.name])


async def test_who_waits_says_so_and_takes_over_from_one_that_fails(
    cache: Path, fake_uv: FakeUv, known: Known
) -> None:
    release, said = known("1.84.0rc1"), Said()
    fake_uv.will(hang="pip install")
    first = asyncio.create_task(ensure_environment(release, Said()))
    await until(fake_uv.pid_file.exists)
    second = asyncio.create_task(ensure_environment(release, said))
    await until(lambda: any("waiting for another process" in line for line in said.lines))
    fake_uv.will()

    first.cancel()
    made = await second

    assert left(cache) == [made.folder.name]


@pytest.mark.parametrize("step", ["venv", "pip install"])
async def test_cancelled_in_the_middle_it_leaves_nothing(
    cache: Path, fake_uv: FakeUv, known: Known, step: str
) -> None:
    fake_uv.will(hang=step)
    making = asyncio.create_task(ensure_environment(known("1.84.0rc1"), Said()))
    await until(lambda: fake_uv.pid_file.exists() and fake_uv.pid_file.read_text() != "")
    assert left(cache) != []

    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    assert left(cache) == []
    assert not alive(int(fake_uv.pid_file.read_text())), "it ignores SIGTERM and must be killed"


async def test_what_a_killed_installation_left_is_no_environment_and_is_swept(
    cache: Path, fake_uv: FakeUv, known: Known
) -> None:
    release = known("1.84.0rc1")
    folder = environment_folder(release)
    half = cache / f".{folder.name}.abc.partial"
    for path in (half, folder):
        (path / "lib").mkdir(parents=True)
    assert installed() == []

    made = await ensure_environment(release, Said())

    assert left(cache) == [made.folder.name]
    assert fake_uv.calls() == ["venv", "pip install"]
    assert installed() == [made]


@pytest.mark.parametrize("harm", ["python", "record", "litellm"])
async def test_an_environment_that_is_not_whole_is_made_again(
    cache: Path, known: Known, harm: str
) -> None:
    release = known("1.84.0rc1")
    made = await ensure_environment(release, Said())
    if harm == "python":
        made.python.unlink()
        made.python.symlink_to(cache / "gone")
    elif harm == "record":
        (made.folder / "installed.json").write_text('{"version": "1.84')
    else:
        (made.site_packages / "litellm").rmdir()
    assert open_environment(made.folder) is None

    again = await ensure_environment(release, Said())

    assert again.python.exists()
    assert installed() == [again]


async def test_a_failure_of_uv_is_explained_and_leaves_nothing(
    cache: Path, fake_uv: FakeUv, known: Known
) -> None:
    fake_uv.will(fail="error: No space left on device")

    with pytest.raises(SetupError, match=r"\[litellm==1.84.0rc1\] could not .*\[No space left"):
        await ensure_environment(known("1.84.0rc1"), Said())

    assert left(cache) == []


async def test_a_cache_that_cannot_be_written_is_named(cache: Path, known: Known) -> None:
    cache.parents[1].write_text("a file where a folder should be")

    with pytest.raises(SetupError, match="XDG_CACHE_HOME") as refused:
        await ensure_environment(known("1.84.0rc1"), Said())

    assert f"[{cache}]" in str(refused.value)


@pytest.mark.parametrize("version", ["1.107.0", "1.107.2rc1", "1!1.107.4", "1.107.1+copy"])
async def test_1_107_is_refused_before_anything_is_run(
    cache: Path, fake_uv: FakeUv, version: str
) -> None:
    smuggled = Release.model_construct(version=version, title="", python=None, relaxations=())

    with pytest.raises(UsageError, match="compromised"):
        await ensure_environment(smuggled, Said())
    with pytest.raises(UsageError, match="compromised"):
        await resolve.resolve(smuggled, universal=True)

    assert fake_uv.calls() == []
    assert not there(cache)


@pytest.mark.parametrize(
    ("instead", "error", "reason"),
    [
        ({"litellm": "1.107.1"}, UsageError, "compromised"),
        ({"litellm": "1.84.10"}, SetupError, r"have litellm \[1.84.0rc1\] but has \[1.84.10\]"),
        ({"redis": "7.0"}, SetupError, r"have redis \[8.1.0\] but has \[7.0\]"),
        ({"asks": "redis<8"}, SetupError, r"requires \[redis<8\], but its pins have \[8.1.0\]"),
        ({"asks": "gone"}, SetupError, r"requires \[gone\], but its pins have \[None\]"),
        ({"asks": "gone ; extra == 'proxy'"}, SetupError, "gone"),
    ],
)
async def test_what_came_must_be_what_was_asked_for(
    cache: Path,
    fake_uv: FakeUv,
    known: Known,
    instead: dict[str, str],
    error: type[Exception],
    reason: str,
) -> None:
    fake_uv.will(instead=instead)

    with pytest.raises(error, match=reason):
        await ensure_environment(known("1.84.0rc1"), Said())

    assert left(cache) == []


async def test_requirements_of_other_extras_and_platforms_are_left_out(
    fake_uv: FakeUv, known: Known
) -> None:
    asks = "redis>=8|gone ; extra == 'other'|gone ; sys_platform == 'none'"
    fake_uv.will(instead={"asks": asks})

    await ensure_environment(known("1.84.0rc1"), Said())


async def test_a_relaxation_stands_in_for_one_requirement_and_must_be_of_one(
    fake_uv: FakeUv, known: Known
) -> None:
    relaxed = Release.model_validate(
        known("1.84.0rc1").model_dump()
        | {"relaxations": [{"asked": "redis==9.0", "use": "redis>=8", "why": "no 9.0"}]}
    )
    fake_uv.will(instead={"asks": "redis==9.0"})
    made = await ensure_environment(relaxed, Said())
    remove()

    fake_uv.will(instead={"asks": "redis==8.1.0"})
    with pytest.raises(SetupError, match=r"no requirement of the release: \[redis==9.0\]"):
        await ensure_environment(relaxed, Said())

    assert made.record.packages["redis"] == "8.1.0"


async def test_a_release_that_was_not_tried_gets_pins_of_its_own(fake_uv: FakeUv) -> None:
    text = f"litellm==1.86.0{HASH}"
    fake_uv.will(resolved=text)

    made = await ensure_environment(release_of("1.86"), Said())

    assert fake_uv.calls() == ["pip compile", "venv", "pip install"]
    assert not made.record.recorded_pins
    assert (made.folder / "pins.txt").read_text() == text
    assert await ensure_environment(release_of("1.86.0"), Said()) == made


async def test_a_resolver_that_comes_back_with_1_107_is_not_believed(
    cache: Path, fake_uv: FakeUv
) -> None:
    fake_uv.will(resolved=f"litellm==1.107.3{HASH}")

    with pytest.raises(UsageError, match="compromised"):
        await ensure_environment(release_of("1.86.0"), Said())

    assert fake_uv.calls() == ["pip compile"]
    assert left(cache) == []


async def test_a_python_that_does_not_fit_runs_nothing(fake_uv: FakeUv) -> None:
    release = Release(version="1.84.0rc1", title="", python="<3.11")

    with pytest.raises(SetupError, match=r"runs on Python \[<3.11\]"):
        await ensure_environment(release, Said())

    assert fake_uv.calls() == []


async def test_an_environment_whose_python_is_gone_is_listed_and_can_be_removed(
    cache: Path, known: Known
) -> None:
    """The system's Python was updated; what it left takes hundreds of megabytes."""
    made = await ensure_environment(known("1.84.0rc1"), Said())
    made.python.unlink()
    made.python.symlink_to(cache / "gone")
    assert "broken: its Python or its packages are gone" in "\n".join(list_releases())
    assert [one.environment for one in remove(["1.84.0rc1"])] == [made]
    assert left(cache) == []


async def test_nothing_is_removed_where_one_of_several_is_not_installed(
    cache: Path, known: Known
) -> None:
    made = await ensure_environment(known("1.84.0rc1"), Said())
    with pytest.raises(UnknownNameError, match=r"\[9.9.9\]"):
        remove(["1.84.0rc1", "9.9.9"])
    assert left(cache) == [made.folder.name]


async def test_removing_says_what_it_frees(cache: Path, known: Known) -> None:
    first = await ensure_environment(known("1.84.0rc1"), Said())
    second = await ensure_environment(known("1.91.0"), Said())
    shared = cache.parents[1] / "uv-cache"
    shared.write_bytes(b"x" * 1000)
    os.link(shared, first.site_packages / "shared")
    (first.site_packages / "own").write_bytes(b"y" * 500)

    (removed,) = remove(["1.84.0rc1"])

    assert removed.environment == first
    assert removed.shared_bytes == 1000
    assert removed.freed_bytes >= 500
    assert left(cache) == [second.folder.name]
    assert shared.exists()
    with pytest.raises(UnknownNameError, match=r"\[1.84.0rc1\].* Known: 1.91.0"):
        remove(["1.84.0rc1"])
    assert [one.environment for one in remove()] == [second]
    assert remove() == []
    assert installed() == []
    assert left(cache) == []


def test_a_generated_client_counts_only_with_its_engine(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    (site / "prisma").mkdir(parents=True)
    environment = Environment(tmp_path, None)  # type: ignore[arg-type] # the record is not asked
    engine = tmp_path / "query-engine-debian-openssl-3.0.x"
    assert not environment.has_prisma_engine

    (site / "prisma" / "client.py").write_text(f"BINARY_PATHS = {{'debian': '{engine}'}}\n")
    assert not environment.has_prisma_engine

    engine.touch()
    assert environment.has_prisma_engine


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "here")

    folder = environment_folder(release_of("1.84.0rc1"))

    assert folder.parent == tmp_path / ".cache" / "authcache-harness" / "litellm"
