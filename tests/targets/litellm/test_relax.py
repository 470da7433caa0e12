"""``--relax``: what a release asks for and the index lacks, with uv and an index of files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.errors import EXIT_USAGE, SetupError, UsageError
from harness.targets.litellm import pins
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.kind import relax_release
from harness.targets.litellm.listing import list_releases
from harness.targets.litellm.pins import fingerprint, read_pins
from harness.targets.litellm.releases import Release, load_table, parse_release, relaxed_names
from harness.targets.litellm.resolve import resolve
from harness.targets.litellm.target import LiteLLMTarget
from tests.targets.litellm.said import Said

NAME = "litellm==1.210.3"
ASKS = ("gone==1.210.3", "extras==0.4.2.post1", "roots>=2026.10,<2027")
NEEDED = ("asyncpg", "prometheus-client", "redis", "uvicorn")
HAS = {"extras": ("0.4.1", "0.4.2", "0.5.0"), "roots": ("2025.1",)} | dict.fromkeys(
    NEEDED, ("1.0",)
)
ALL = ("gone", "extras", "roots")


def wheel(folder: Path, name: str, version: str, asks: tuple[str, ...] = ()) -> None:
    """A wheel with nothing in it but an empty module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", "Provides-Extra: proxy"]
    lines += [f"Requires-Dist: {one} ; extra == 'proxy'" for one in asks]
    files = {
        f"{module}/__init__.py": "",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes an index of one release and of what it has of its requirements."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "uv.toml").write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))

    def make(
        asks: tuple[str, ...] = ASKS, has: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        wheel(folder, "litellm", "1.210.3", asks)
        for name, versions in (HAS if has is None else has).items():
            for version in versions:
                wheel(folder, name, version)

    return make


def relaxing(*packages: str) -> Release:
    return relax_release(parse_release(NAME), packages)


async def test_the_nearest_version_is_taken_and_a_package_that_is_lacking_left_out(
    index: Callable[..., None],
) -> None:
    index()
    release = relaxing(*ALL)

    text, relaxed = await resolve(release, universal=False)

    pinned = read_pins(text, release)
    assert (pinned["extras"], pinned["roots"]) == ("0.4.2", "2025.1"), "not 0.5.0"
    assert "gone" not in pinned
    assert {one.asked: one.use for one in relaxed} == {
        "gone==1.210.3": "",
        "extras==0.4.2.post1": "extras<=0.4.2.post1",
        "roots>=2026.10,<2027": "roots",
    }


async def test_any_version_is_taken_where_there_is_none_before(index: Callable[..., None]) -> None:
    index(("extras==0.3",))

    text, _ = await resolve(relaxing("extras"), universal=False)

    assert read_pins(text, relaxing("extras"))["extras"] == "0.5.0"


@pytest.mark.parametrize("allowed", [(), ("extras",), ("roots", "extras")])
async def test_all_that_is_lacking_is_reported_at_once_with_what_the_resolver_says(
    index: Callable[..., None], allowed: tuple[str, ...]
) -> None:
    index()
    with pytest.raises(SetupError) as refused:
        await resolve(relaxing(*allowed), universal=False)

    text = str(refused.value)
    left = [name for name in ALL if name not in allowed]
    assert sorted(text.partition(" (make: ")[0].split(" --relax ")[1:]) == sorted(left)
    assert "run without [gone], which it lacks entirely" in text
    assert "Because gone was not found" in text, "the line that decides"
    for name in left:
        assert f"depend on {name}" in text
    assert "releases.toml" not in text


async def test_an_environment_says_what_was_relaxed_and_so_does_every_report(
    cache: Path, index: Callable[..., None]
) -> None:
    index()
    release, said = relaxing(*ALL, "redis"), Said()

    made = await ensure_environment(release, said)

    assert made.folder.parent == cache
    assert any("--relax redis was not needed" in line for line in said.lines)
    target = LiteLLMTarget(release, made)
    for part in (
        "gone==1.210.3 is asked for, none is used",
        "extras==0.4.2.post1 is asked for, 0.4.2 is used",
        "roots>=2026.10,<2027 is asked for, 2025.1 is used",
    ):
        assert part in target.notes[-1], target.notes
        assert part in target.describe()["relaxed"]
    (line,) = [line for line in list_releases() if line.startswith("1.210.3 ")]
    assert "relaxed: extras, gone, redis, roots" in line
    assert "other pins" not in line


async def test_a_release_that_has_all_it_requires_says_nothing(
    cache: Path, index: Callable[..., None]
) -> None:
    index(("redis==1.0",))

    made = await ensure_environment(parse_release(NAME), Said())

    target = LiteLLMTarget(parse_release(NAME), made)
    assert made.folder.parent == cache
    assert target.notes == LiteLLMTarget.notes
    assert "relaxed" not in target.describe()


def test_what_is_relaxed_is_part_of_the_environments_name() -> None:
    prints = {fingerprint(relaxing(*names)) for names in ((), ("gone",), ("extras", "gone"))}

    assert len(prints) == 3
    assert fingerprint(relaxing("gone", "extras")) in prints
    assert fingerprint(relaxing("Extras", "gone")) in prints


async def test_recorded_pins_are_relaxed_only_where_the_index_lacks_them(
    cache: Path, tmp_path: Path, index: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = parse_release(NAME).model_copy(update={"known": True})
    monkeypatch.setattr(pins, "PINS_FOLDER", tmp_path)
    index(("extras==0.4.2", "roots==2025.1"), HAS)
    text, _ = await resolve(parse_release(NAME), universal=False)
    recorded = tmp_path / "1.210.3.txt"

    recorded.write_text(text)
    whole = await ensure_environment(relax_release(known, ["extras"]), Said())
    recorded.write_text(text.replace("extras==0.4.2", "extras==0.4.3"))
    said = Said()
    with pytest.raises(SetupError, match=r"try again with --relax extras"):
        await ensure_environment(known, said)
    made = await ensure_environment(relax_release(known, ["extras"]), said)

    assert (whole.record.recorded_pins, whole.record.relax) == (True, ())
    assert (made.record.recorded_pins, made.record.packages["extras"]) == (False, "0.4.2")
    assert made.folder.parent == whole.folder.parent == cache
    assert any("the index lacks what its pins name" in line for line in said.lines)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("litellm", "cannot be relaxed"),
        ("LiteLLM", "cannot be relaxed"),
        ("litellm==1.107.1", "names no package"),
        ("certifi>=1", "names no package"),
        ("", "names no package"),
        ("-e", "names no package"),
        ("a b", "names no package"),
    ],
)
def test_litellm_itself_and_what_is_no_package_cannot_be_relaxed(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        relaxed_names([name])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("loadtest", "--variants", NAME, "--relax", "certifi,litellm"), "cannot be relaxed"),
        (("history", "--releases", "1.210.3", "--relax", "a==1"), "names no package"),
        (("releases", "install", "1.210.3", "--relax", "litellm"), "cannot be relaxed"),
        (("releases", "install", "1.107.1", "--relax", "certifi"), "compromised"),
        (("loadtest", "--variants", "recommended", "--relax", "certifi"), "no release takes part"),
        (("history", "--from", "latest", "--relax", "certifi"), "Leave RELAX out"),
    ],
)
def test_a_wrong_use_is_one_message(words: tuple[str, ...], part: str) -> None:
    ended = CliRunner().invoke(main, words)

    assert ended.exit_code == EXIT_USAGE
    assert part in " ".join(ended.output.split())


def test_a_row_may_leave_a_package_out() -> None:
    row = '["1.210.3"]\ntitle = "x"\nrelaxations = [{ asked = "gone==1", use = "", why = "x" }]'

    (relaxation,) = load_table(row, "mine.toml")["1.210.3"].relaxations

    assert relaxation.override == "gone ; python_version < '0'"
