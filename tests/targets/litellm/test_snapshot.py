from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.version import Version

from harness.cli import main
from harness.errors import EXIT_USAGE, SetupError, UsageError
from harness.targets.litellm import snapshot
from harness.targets.litellm.environment import Environment
from harness.targets.litellm.inside.origin import digest_of
from harness.targets.litellm.releases import EXCLUSION, Release, parse_release
from harness.targets.litellm.snapshot import Laid, lay, remove_snapshots, snapshots
from harness.targets.litellm.sources import CodeSource, parse_source, relaxed
from harness.targets.litellm.target import LiteLLMTarget
from harness.targets.litellm.uv import UvError
from tests.silence import Silence
from tests.targets.litellm.repository import (
    Repository,
    pyproject,
    repository_of,
    small_environment,
    wheel,
)

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The only environment that there is."""
    made = small_environment(tmp_path / "environment")
    _only(made, monkeypatch)
    return made


def _only(made: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ensure(release: Release, progress: object) -> Environment:
        del release, progress
        return made

    monkeypatch.setattr(snapshot, "ensure_environment", ensure)


@pytest.fixture
def repository(tmp_path: Path, environment: Environment) -> Repository:
    return repository_of(environment, tmp_path / "my, odd+tree")


def source(text: str) -> CodeSource:
    found = parse_source(text)
    assert isinstance(found, CodeSource)
    return found


async def laid(repository: Repository, revision: str = "") -> Laid:
    return await lay(source(f"litellm@{repository.folder}{revision}"), Silence())


async def test_a_working_tree_is_taken_with_what_git_does_not_ignore(
    repository: Repository,
) -> None:
    repository.write("litellm/proxy/gone.py", "")
    commit = repository.commit("one more file")
    repository.write("litellm/__init__.py", "CHANGED = 1\n")
    repository.write("litellm/untracked.py", "NEW = 1\n")
    repository.write("litellm/ignored.py", "")
    repository.write("notes.txt", "outside the packages")
    repository.write("litellm-js/notes.py", "beside them, under a name that begins alike")
    (repository.folder / "litellm/proxy/gone.py").unlink()

    found = await laid(repository)

    code = found.folder
    assert (code / "litellm/__init__.py").read_text() == "CHANGED = 1\n"
    assert (code / "litellm/untracked.py").is_file()
    assert not (code / "litellm/ignored.py").exists()
    assert not (code / "litellm/proxy/gone.py").exists()
    assert found.packages == {
        name: str(code / name) for name in ("litellm", "litellm_enterprise", "litellm_proxy_extras")
    }
    record = found.snapshot
    assert (record.kind, record.identity, record.uncommitted) == ("tree", commit, 3)
    assert record.name == "my, odd+tree"
    assert record.digest == digest_of(code)


async def test_a_commit_is_taken_as_it_was(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "v1")
    repository.append("litellm/__init__.py", "LATER = 1\n")
    repository.commit("later")
    repository.append("litellm/__init__.py", "NOT_COMMITTED = 1\n")

    old = await laid(repository, "#v1")
    new = await laid(repository, "#main")

    assert old.snapshot.identity == first
    assert (old.folder / "litellm/__init__.py").read_text() == ""
    assert (new.folder / "litellm/__init__.py").read_text() == "LATER = 1\n"
    assert (old.snapshot.kind, old.snapshot.uncommitted) == ("commit", 0)
    assert old.snapshot.digest != new.snapshot.digest


async def test_nothing_is_written_into_the_repository(repository: Repository) -> None:
    # Git would refresh its index: the file is as it was, its time is not.
    os.utime(repository.folder / "litellm/__init__.py")

    def state() -> dict[str, tuple[int, int]]:
        paths = [repository.folder, *repository.folder.rglob("*")]
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in paths}

    before = state()
    await laid(repository)
    await laid(repository, "#HEAD")
    assert state() == before


async def test_the_same_code_is_kept_once_and_runs_compiled(
    repository: Repository, environment: Environment
) -> None:
    repository.write("litellm/changed.py", "X = 1\n")
    first, second = await laid(repository), await laid(repository)
    assert first.folder == second.folder
    assert [folder / "code" for folder, _ in snapshots()] == [first.folder]
    assert not [*snapshot.sources_root().glob(".stage*")]
    for name in ("changed", "__init__", "proxy/app"):
        folder, _, stem = f"litellm/{name}".rpartition("/")
        assert [*(first.folder / folder / "__pycache__").glob(f"{stem}.*.pyc")], name
    same = first.folder / "litellm/proxy/app.py"
    assert same.samefile(environment.site_packages / "litellm/proxy/app.py")


async def test_one_changed_byte_is_another_snapshot(repository: Repository) -> None:
    first = await laid(repository)
    repository.append("litellm/proxy/app.py", "#")
    assert (await laid(repository)).folder != first.folder


async def test_the_native_file_is_the_environments(repository: Repository) -> None:
    found = await laid(repository)
    assert found.snapshot.native == "environment"
    assert (found.folder / "litellm/rust_bridge/_native.abi3.so").read_bytes() == b"native"


async def test_a_tree_that_needs_a_native_file_does_not_run_without(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(small_environment(tmp_path / "older", native=False, version="1.84.0"), monkeypatch)
    with pytest.raises(SetupError, match="its native file, and without it LiteLLM runs other code"):
        await laid(repository)


async def test_a_cache_that_cannot_be_written_is_named(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(SetupError, match=r"copied into \[.*/cache/.*set XDG_CACHE_HOME"):
        await laid(repository)


async def test_what_the_environment_lacks_is_named(repository: Repository) -> None:
    asked = ["fastapi>=0.136,<1.0", "absent>=2", "not-here; python_version < '3'"]
    proxy = ["litellm-enterprise==9", "fastapi>=5"]
    repository.write("pyproject.toml", pyproject("1.105.7", asked, proxy))
    with pytest.raises(SetupError) as caught:
        await laid(repository)
    assert "absent>=2 (none); fastapi>=5 (it has 0.136.3)." in str(caught.value)
    assert "--environment litellm==X" in str(caught.value)
    assert "--relax absent --relax fastapi." in str(caught.value)

    # What the user relaxes runs with what there is, and says so; the rest is still refused.
    with pytest.raises(SetupError, match=r"lacks: absent>=2 \(none\)\. Choose"):
        await lay(relaxed(source(f"litellm@{repository.folder}"), ["FastAPI"]), Silence())
    chosen = relaxed(source(f"litellm@{repository.folder}"), ["FastAPI", "absent", "other"])
    found = await lay(chosen, Silence())
    assert found.snapshot.relaxed == ("absent>=2 (none)", "fastapi>=5 (it has 0.136.3)")
    target = LiteLLMTarget(parse_release("litellm==1.105.7"), found.environment, laid=found)
    assert "runs without what it requires: absent>=2 (none); fastapi>=5" in target.notes[-1]
    assert "absent>=2 (none)" in target.describe()["relaxed"]


@pytest.mark.parametrize(
    ("revision", "change", "message"),
    [
        ("#nowhere", lambda r: r.folder, r"no revision \[nowhere\]"),
        ("#--all", lambda r: r.folder, r"no revision \[--all\]"),
        ("", lambda r: shutil.rmtree(r.folder / ".git"), "in no git repository"),
        (
            "",
            lambda r: (r.folder / "pyproject.toml").unlink(),
            "unknown: No such file or directory",
        ),
        ("", lambda r: r.write("pyproject.toml", pyproject("1.107.3", [], [])), "compromised"),
        (
            "",
            lambda r: r.write("pyproject.toml", pyproject("x", [], [])),
            r"version \[x\], which PEP",
        ),
        (
            "",
            lambda r: r.write("pyproject.toml", pyproject("1", [], [], name="other")),
            r"repository of \[other\]",
        ),
        ("", lambda r: shutil.rmtree(r.folder / "litellm"), r"no package \[litellm\]"),
    ],
)
async def test_what_cannot_run_is_refused(
    repository: Repository, revision: str, change: Callable[[Repository], object], message: str
) -> None:
    change(repository)
    with pytest.raises(UsageError, match=message):
        await laid(repository, revision)
    assert snapshots() == []


async def test_the_compromised_release_is_refused_whatever_environment_is_chosen(
    repository: Repository,
) -> None:
    repository.write("pyproject.toml", pyproject("1.107.0.dev3+mine", [], []))
    chosen = replace(
        source(f"litellm@{repository.folder}"), within=parse_release("litellm==1.105.7")
    )
    with pytest.raises(UsageError, match="compromised"):
        await lay(chosen, Silence())


async def test_a_changed_submodule_is_refused(repository: Repository, tmp_path: Path) -> None:
    part = Repository(tmp_path / "part")
    part.write("a.py", "")
    part.git("init", "--quiet")
    part.commit("one")
    allowed = ("-c", "protocol.file.allow=always")
    repository.git(*allowed, "submodule", "--quiet", "add", str(part.folder), "vendored part")
    repository.commit("with a submodule")
    await laid(repository)
    repository.write("vendored part/a.py", "CHANGED = 1\n")
    with pytest.raises(UsageError, match=r"submodule \[vendored part\].*has changes"):
        await laid(repository)


@pytest.mark.usefixtures("environment")
async def test_a_wheel_runs_by_its_hash(tmp_path: Path) -> None:
    file = wheel(tmp_path)
    found = await lay(source(f"litellm@{file}"), Silence())
    assert (found.snapshot.kind, found.snapshot.name) == ("wheel", file.name)
    assert len(found.snapshot.identity) == 64
    assert found.packages.keys() == {"litellm"}
    assert not [*snapshot.sources_root().rglob("escaped.py")]


@pytest.mark.usefixtures("environment")
async def test_a_wheel_is_judged_by_its_metadata(tmp_path: Path) -> None:
    other = wheel(tmp_path, name="other")
    renamed = other.rename(tmp_path / "litellm-1.105.7-py3-none-any.whl")
    with pytest.raises(UsageError, match=r"wheel of \[other\]"):
        await lay(source(f"litellm@{renamed}"), Silence())
    refused = wheel(tmp_path, version="1.107.1").rename(
        tmp_path / "litellm-1.106.0-py3-none-any.whl"
    )
    with pytest.raises(UsageError, match="compromised"):
        await lay(source(f"litellm@{refused}"), Silence())
    renamed.write_bytes(b"no archive")
    with pytest.raises(UsageError, match="no wheel that can be read"):
        await lay(source(f"litellm@{renamed}"), Silence())


@pytest.mark.parametrize(
    ("version", "index", "expected"),
    [
        ("1.105.7", None, "1.105.7"),
        ("1.105.7+local", None, "1.105.7"),
        ("1.106.3", "1.106.2", "1.106.2"),
        ("1.106.3", None, "1.105.7"),
        ("1.108.0", None, "1.105.7"),
    ],
)
async def test_the_environment_is_that_of_the_nearest_release(
    monkeypatch: pytest.MonkeyPatch, version: str, index: str | None, expected: str
) -> None:
    async def greatest(wanted: object) -> str | None:
        del wanted
        return index

    monkeypatch.setattr(snapshot, "_greatest", greatest)
    assert (await snapshot._nearest(version, "x", Silence())).version == expected


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("litellm==1.105.7 \\\n    --hash=sha256:00\n", "1.105.7"),
        (UvError("Because there is no version of litellm<=1.0 and you require it, we"), None),
        (UvError("error: Failed to fetch: `https://index.invalid/`"), SetupError),
        (UvError("the network was disabled"), SetupError),
    ],
)
async def test_the_index_is_asked_for_the_nearest_and_silence_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, written: str | UvError, found: str | type[SetupError] | None
) -> None:
    async def run(command: Sequence[str | Path], folder: Path) -> None:
        del command
        if isinstance(written, UvError):
            raise written
        assert "litellm[proxy]<=1.106.0" in (folder / "requirements.in").read_text()
        assert EXCLUSION in (folder / "requirements.in").read_text()
        (folder / "pins.txt").write_text(written)

    monkeypatch.setattr(snapshot, "run_uv", run)
    if found is SetupError:
        with pytest.raises(SetupError, match="--environment litellm==X"):
            await snapshot._greatest(Version("1.106.0"))
    else:
        assert await snapshot._greatest(Version("1.106.0")) == found


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ('"^1.2.3"', ">=1.2.3,<2"),
        ('"^0.2.3"', ">=0.2.3,<0.3"),
        ('"^0.0.3"', ">=0.0.3,<0.0.4"),
        ('"^1"', ">=1,<2"),
        ('"^0.0"', ">=0.0,<0.1"),
        ('"~1.2.3"', ">=1.2.3,<1.3"),
        ('"1.2.3"', "==1.2.3"),
        ('"1.2.*"', "==1.2.*"),
        ('">=1.2,<3"', ">=1.2,<3"),
        ('"*"', ""),
        ('{ version = "^1.2", optional = true }', ">=1.2,<2"),
    ],
)
def test_poetrys_ranges_are_requirements(tmp_path: Path, asked: str, expected: str) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[tool.poetry]\nname = "litellm"\nversion = "1.83.0"\n'
        f'[tool.poetry.dependencies]\npython = "^3.9"\nfastapi = {asked}\n'
        'unasked = { version = "1", optional = true }\n'
        'marked = { version = "1", markers = "python_version < \'3\'" }\n'
        '[tool.poetry.extras]\nproxy = ["fastapi"]\nother = ["unasked"]\n'
    )
    version, requires = snapshot._project(file, "x")
    assert version == "1.83.0"
    assert requires == (f"fastapi{expected}", "marked==1 ; python_version < '3'")
    assert all(Requirement(one) for one in requires)


async def test_a_chosen_environment_is_taken(
    repository: Repository, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Release] = []

    async def ensure(release: Release, progress: object) -> Environment:
        del progress
        asked.append(release)
        return environment

    monkeypatch.setattr(snapshot, "ensure_environment", ensure)
    chosen = replace(
        source(f"litellm@{repository.folder}"),
        within=parse_release("litellm==1.86.0"),
        relax=("x",),
    )
    await lay(chosen, Silence())
    assert [(one.version, one.relax) for one in asked] == [("1.86.0", ("x",))]


async def test_snapshots_are_removed_by_name(repository: Repository) -> None:
    await laid(repository)
    repository.append("litellm/__init__.py", "X = 1\n")
    await laid(repository)
    (first, _), (second, _) = snapshots()
    assert [name for name, _ in remove_snapshots([first.name])] == [first.name]
    assert [folder for folder, _ in snapshots()] == [second]
    assert [name for name, _ in remove_snapshots()] == [second.name]


async def test_snapshots_are_listed_and_removed_with_the_releases(repository: Repository) -> None:
    found = await laid(repository)
    name = found.folder.parent.name

    listed = CliRunner().invoke(main, ["releases"]).output
    assert f"{name}  litellm==1.105.7" in listed
    assert f"tree my, odd+tree at {repository.git('rev-parse', 'HEAD')[:12]}" in listed
    removed = CliRunner().invoke(main, ["releases", "remove", name])
    assert removed.exit_code == 0
    assert f"removed the snapshot {name}" in removed.output
    assert snapshots() == []


def _submodule(repository: Repository) -> None:
    part = Repository(repository.folder.parent / "part")
    part.write("a.py", "")
    part.git("init", "--quiet")
    part.commit("one")
    allowed = ("-c", "protocol.file.allow=always")
    repository.git(*allowed, "submodule", "--quiet", "add", str(part.folder), "vendored")
    repository.commit("with a submodule")
    repository.write("vendored/a.py", "CHANGED = 1\n")


def _leave(_: Repository) -> None: ...


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("litellm@{repo}", lambda r: shutil.rmtree(r.folder / ".git"), "is in no git repository"),
        ("litellm@{repo}#gone", _leave, "has no revision [gone]"),
        ("litellm@{repo}", _submodule, "The submodule [vendored]"),
        (
            "litellm@{repo}",
            lambda r: r.write("pyproject.toml", pyproject("1.107.0", [], [])),
            "1.107 is a compromised release",
        ),
        ("litellm@{wheel}", _leave, "is a wheel of [other], not of [litellm]"),
        ("litellm@{repo}", _leave, "The configuration [mine.yaml] is no YAML"),
    ],
)
def test_each_bad_input_is_one_message_before_anything_starts(
    repository: Repository,
    tmp_path: Path,
    name: str,
    change: Callable[[Repository], object],
    message: str,
) -> None:
    change(repository)
    (tmp_path / "mine.yaml").write_text("a: [1")
    place = name.format(repo=repository.folder, wheel=wheel(tmp_path, name="other"))
    given = ("--variants", place.replace(",", "\\,"), "--config", str(tmp_path / "mine.yaml"))
    runs = tmp_path / "runs"
    ended = CliRunner().invoke(main, ["loadtest", *given, "--runs-dir", str(runs)])
    assert ended.exit_code == EXIT_USAGE, ended.output
    said = " ".join(ended.output.split())
    assert said.count("error: ") == 1
    assert message in said.partition("error: ")[2]
    assert "Traceback" not in said
    assert not runs.exists()
