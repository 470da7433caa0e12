"""Snapshots of trees and wheels, laid over the environment of a release.

A working tree, a commit or a wheel is copied into the user's cache, under a digest of all that was
copied, and runs from there: ``litellm-sources/<version>-py<major.minor>-<digest>``. Nothing is
written into the repository. Its packages are found by name before those of the environment, which
provides everything else: the requirements, and the native file that a git tree does not have.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.domain.progress import Progress
from harness.errors import SetupError, UsageError
from harness.installation import user_cache
from harness.process import groups
from harness.process.git import git
from harness.targets.litellm.environment import Environment, installed
from harness.targets.litellm.folders import ROOM, atomic_folder, remove_whole, sole_maker
from harness.targets.litellm.inside.origin import PACKAGES, digest_of, files_of, native_files
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.pins import requirements
from harness.targets.litellm.problems import unreachable
from harness.targets.litellm.releases import (
    PROJECT,
    Release,
    known_releases,
    refuse_compromised,
    release_of,
)
from harness.targets.litellm.sources import CodeSource
from harness.targets.litellm.uv import UvError, compile_command, find_uv, run_uv

RECORD = "source.json"
CODE = "code"
"""The folder of the laid packages."""
PYPROJECT = "pyproject.toml"
BRIDGE = Path("litellm/rust_bridge")
"""The package of the native file. Releases from 1.92 have it."""
_WANTED = (PYPROJECT, *PACKAGES.values())
_PINNED = re.compile(rf"^{PROJECT}==(\S+)", re.MULTILINE)
_EXTRAS = ("", "proxy")
_POETRY = re.compile(r"^(?P<sign>[\^~]?)(?P<version>\d+(?:\.\d+)*)(?P<any>\.\*)?$")
_DIGITS = 16
_SUBMODULE = "160000"
_GRACE_S = 5.0


class SourceRecord(BaseModel):
    """The record of a snapshot, kept in its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    """``tree``, ``commit`` or ``wheel``."""
    name: str
    """Of the repository's folder, or of the wheel file."""
    version: str
    """By its pyproject.toml, or its metadata."""
    digest: str
    """SHA-256 over all files that run, the environment's native file included."""
    identity: str
    """Commit of a tree, SHA-256 of a wheel file."""
    uncommitted: int
    """Changed and untracked files of a working tree."""
    environment: str
    """The release in whose environment it runs, as ``litellm==1.105.7``."""
    packages: tuple[str, ...]
    """Those that are laid; the environment has the others."""
    native: str
    """``own``, ``environment`` or ``none``."""
    size: int
    """Bytes of all files; some may be shared with the environment."""
    relaxed: tuple[str, ...] = ()
    """Requirements that the environment does not meet and the user relaxed, in words."""

    @property
    def place(self) -> str:
        """What was copied, as ``litellm at 0123456789ab and 2 files not committed``."""
        at = f"sha256 {self.identity[:12]}" if self.kind == "wheel" else self.identity[:12]
        changed = f" and {self.uncommitted} files not committed" if self.uncommitted else ""
        return f"{self.name} at {at}{changed}"


class Laid(NamedTuple):
    """A snapshot, and the environment that it is laid over."""

    snapshot: SourceRecord
    folder: Path
    """Of the packages."""
    environment: Environment

    @property
    def version(self) -> str:
        """The public version, without a local part."""
        return Version(self.snapshot.version).public

    @property
    def packages(self) -> dict[str, str]:
        """Folders by package."""
        return {name: str(self.folder / name) for name in self.snapshot.packages}


def sources_root() -> Path:
    """Where the snapshots are; may not exist yet."""
    return user_cache() / "litellm-sources"


def snapshots() -> list[tuple[Path, SourceRecord]]:
    """All snapshots with their folders, oldest version first."""
    root = sources_root()
    folders = [path for path in root.iterdir() if path.name[0] != "."] if root.is_dir() else []
    found = [(path, one) for path in folders if (one := _recorded(path)) is not None]
    return sorted(found, key=lambda one: (Version(one[1].version), one[0].name))


def remove_snapshots(names: Iterable[str] | None = None) -> list[tuple[str, int]]:
    """Remove snapshots by the names of their folders, or all.

    Returns:
        Names and bytes of those removed.
    """
    chosen = None if names is None else {*names}
    return [
        (folder.name, one.size)
        for folder, one in snapshots()
        if (chosen is None or folder.name in chosen) and remove_whole(folder)
    ]


async def lay(source: CodeSource, progress: Progress) -> Laid:
    """Snapshot a source that is no release, and lay it over an environment.

    Raises:
        UsageError: no repository, no such revision, a changed submodule, no LiteLLM, or 1.107.
        SetupError: there is no environment for it, the environment lacks what it requires, or the
            snapshot cannot be written.
    """
    assert source.place is not None, "a release is not laid over anything"
    root = sources_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".stage-", dir=root) as name:
            stage = Path(name)
            progress.phase(f"{source.name}: taking a snapshot")
            if source.kind == "wheel":
                taken = await asyncio.to_thread(_unpack, source.place, stage)
            else:
                taken = await _check_out(source.place, source.revision, stage)
            return await _laid(source, taken, stage, progress)
    except OSError as error:
        raise SetupError(
            f"[{source.name}] could not be copied into [{root}]: {error}. {ROOM}"
        ) from error


class _Taken(NamedTuple):
    """What was copied into ``code``, by package."""

    name: str
    version: str
    requires: tuple[str, ...]
    identity: str
    uncommitted: int = 0


async def _laid(source: CodeSource, taken: _Taken, stage: Path, progress: Progress) -> Laid:
    refuse_compromised(taken.version)
    environment = await _environment(source, taken.version, progress)
    laid = _packages(stage / CODE)
    relaxed = refuse_missing(source.name, taken.requires, environment, laid, source.relax)
    native = await asyncio.to_thread(_complete, stage / CODE, environment, source.name)
    digest = await asyncio.to_thread(digest_of, stage / CODE)
    record = SourceRecord(
        kind=source.kind,
        name=taken.name,
        version=taken.version,
        digest=digest,
        identity=taken.identity,
        uncommitted=taken.uncommitted,
        environment=f"{PROJECT}=={environment.version}",
        packages=laid,
        native=native,
        size=sum(path.stat().st_size for path in files_of(stage / CODE)),
        relaxed=relaxed,
    )
    python = f"py{sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"
    folder = sources_root() / f"{taken.version}-{python}-{digest[:_DIGITS]}"
    async with sole_maker(folder, lambda: progress.phase(f"{source.name}: waiting for its copy")):
        if _recorded(folder) is None:
            with atomic_folder(folder) as partial:
                (stage / CODE).rename(partial / CODE)
                progress.phase(f"{source.name}: compiling what differs from the release")
                await _compile(environment, partial / CODE)
                (partial / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    return Laid(record, folder / CODE, environment)


def _packages(code: Path) -> tuple[str, ...]:
    return tuple(name for name in PACKAGES if (code / name / "__init__.py").is_file())


def _recorded(folder: Path) -> SourceRecord | None:
    try:
        return SourceRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


async def _compile(environment: Environment, code: Path) -> None:
    # A file that does not compile fails when it is imported, with its own traceback.
    await groups.run(
        *(environment.python, "-I", "-m", "compileall", "-q", code),
        grace_s=_GRACE_S,
    )


# --- trees


async def _check_out(place: Path, revision: str | None, stage: Path) -> _Taken:
    """Copy a working tree or a commit: the packages, and the project's file."""
    top = await git(place, "rev-parse", "--show-toplevel")
    if top is None:
        raise UsageError(
            f"[{place}] is in no git repository. Name the folder of a clone of LiteLLM, or a "
            "wheel file."
        )
    root = Path(top.rstrip("\n"))
    asked = f"{revision or 'HEAD'}^{{commit}}"
    commit = await git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", asked)
    if commit is None:
        raise UsageError(
            f"[{root.name}] has no revision [{revision or 'HEAD'}]. Name a commit, tag or branch "
            f"that git -C {root} log shows; a remote's must be fetched first."
        )
    identity, uncommitted = commit.strip(), 0
    files = stage / "files"
    if revision is None:
        uncommitted = await _refuse_submodules(root)
        listed = await _listed(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        await asyncio.to_thread(_copy, root, files, listed)
    else:
        index = {"GIT_INDEX_FILE": str(stage / "index")}
        await git(root, "read-tree", identity, more=index)
        listed = await _listed(root, "ls-files", "-z", "--cached", more=index)
        out = ("checkout-index", "-z", "--stdin", f"--prefix={files}/")
        if await git(root, *out, stdin="\0".join(listed).encode(), more=index) is None:
            raise SetupError(
                f"The commit [{identity[:12]}] of [{root.name}] cannot be written out. Where the "
                f"clone is partial, fetch its files: git -C {root} checkout {identity[:12]}."
            )
    version, requires = _project(files / PYPROJECT, root.name)
    (stage / CODE).mkdir()
    for name, inside in PACKAGES.items():
        if (files / inside).is_dir():
            (files / inside).rename(stage / CODE / name)
    _check_litellm(stage / CODE, root.name)
    return _Taken(root.name, version, requires, identity, uncommitted)


async def _listed(root: Path, *arguments: str, more: Mapping[str, str] | None = None) -> list[str]:
    text = await git(root, *arguments, "--", *_WANTED, more=more)
    # A file that is in conflict is listed once for each side.
    return [*dict.fromkeys(name for name in (text or "").split("\0") if name)]


async def _refuse_submodules(root: Path) -> int:
    """The number of changed and untracked files of the packages.

    Raises:
        UsageError: a submodule has changes.
    """
    text = await git(root, "status", "--porcelain=v2", "-z", "--untracked-files=all") or ""
    lines = [line for line in text.split("\0") if line[:2] in {"1 ", "2 ", "u ", "? "}]
    for line in lines:
        fields = line.split(" ")
        if fields[0] != "?" and fields[2].startswith("S"):
            path = line.split(" ", 8)[-1]
            raise UsageError(
                f"The submodule [{path}] of [{root.name}] has changes, which a snapshot would not "
                "hold. Commit or undo them in the submodule, then git add it."
            )
    # The path is the last field: after one, eight, nine or ten others.
    paths = [line.split(" ", {"?": 1, "1": 8, "2": 9, "u": 10}[line[0]])[-1] for line in lines]
    return sum(any(path == one or path.startswith(f"{one}/") for one in _WANTED) for path in paths)


def _copy(root: Path, files: Path, listed: Sequence[str]) -> None:
    files.mkdir()
    for name in listed:
        source, target = root / name, files / name
        # A deleted file is still in the index, and a submodule is a folder.
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _project(file: Path, name: str) -> tuple[str, tuple[str, ...]]:
    """Version and requirements by a pyproject.toml."""
    try:
        table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"[{name}] has no {PYPROJECT} that can be read, so its version is unknown: {why}. "
            "Name the folder of LiteLLM's repository."
        ) from error
    poetry = table.get("tool", {}).get("poetry", {})
    project = table.get("project", poetry)
    if project.get("name") != PROJECT:
        raise UsageError(
            f"[{name}] is a repository of [{project.get('name')}] by its {PYPROJECT}, not of "
            f"[{PROJECT}]. Name a clone of LiteLLM."
        )
    version = _version(project.get("version", poetry.get("version")), name)
    asked = [*project.get("dependencies", ())] if "project" in table else []
    asked += project.get("optional-dependencies", {}).get("proxy", []) if asked else []
    return version, tuple(map(str, asked or _of_poetry(poetry)))


def _of_poetry(table: Mapping[str, Any]) -> Iterator[str]:
    """Requirements in Poetry's own spelling, as LiteLLM had them up to 1.83."""
    wanted = {*table.get("extras", {}).get("proxy", ())}
    for name, how in table.get("dependencies", {}).items():
        one = how if isinstance(how, dict) else {"version": how}
        if name == "python" or (one.get("optional") and name not in wanted):
            continue
        text = str(one.get("version", "*")).strip()
        versions = "" if text == "*" else _POETRY.sub(_range, text)
        yield f"{name}{versions}" + (f" ; {one['markers']}" if "markers" in one else "")


def _range(match: re.Match[str]) -> str:
    """``^1.2.3``, ``~1.2.3`` and ``1.2.3`` as PEP 440 has them."""
    sign, low = match["sign"], match["version"]
    if not sign:
        return f"=={low}{match['any'] or ''}"
    numbers = [int(part) for part in low.split(".")]
    # A caret lets everything change after the first number that is not 0; a tilde, after the minor.
    fixed = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1) if sign == "^" else 1
    upper = [*numbers[:fixed], [*numbers, 0][fixed] + 1]
    return f">={low},<{'.'.join(map(str, upper))}"


def _version(text: object, name: str) -> str:
    try:
        return str(Version(str(text)))
    except InvalidVersion as error:
        raise UsageError(
            f"[{name}] has the version [{text}], which PEP 440 does not allow. Set it in its "
            f"{PYPROJECT}."
        ) from error


def _check_litellm(code: Path, name: str) -> None:
    if PROJECT not in _packages(code):
        raise UsageError(
            f"[{name}] has no package [{PROJECT}]. Name LiteLLM's repository or its wheel."
        )


# --- wheels


def _unpack(wheel: Path, stage: Path) -> _Taken:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            about = next(n for n in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            metadata = Parser().parsestr(archive.read(about).decode())
            for name in names:
                parts = PurePosixPath(name).parts
                if parts and parts[0] in PACKAGES and ".." not in parts:
                    archive.extract(name, stage / CODE)
    except (OSError, zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
        raise UsageError(
            f"[{wheel.name}] is no wheel that can be read: {error or 'it has no metadata'}. "
            "Build it again."
        ) from error
    if metadata["Name"] is None or canonicalize_name(metadata["Name"]) != PROJECT:
        raise UsageError(
            f"[{wheel.name}] is a wheel of [{metadata['Name']}], not of [{PROJECT}]. "
            "Name LiteLLM's own."
        )
    version = _version(metadata["Version"], wheel.name)
    _check_litellm(stage / CODE, wheel.name)
    return _Taken(
        wheel.name, version, tuple(metadata.get_all("Requires-Dist", ())), _hash_of(wheel)
    )


def _hash_of(wheel: Path) -> str:
    with wheel.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the environment


def refuse_missing(
    name: str,
    requires: Iterable[str],
    environment: Environment,
    laid: Iterable[str],
    relax: Iterable[str] = (),
) -> tuple[str, ...]:
    """Raise SetupError where an environment lacks what a source requires, with all of it.

    Args:
        name: of the source.
        requires: as its metadata has it.
        environment: what it is laid over.
        laid: the packages that it brings itself.
        relax: packages of which the user takes what the environment has, or that may be missing.

    Returns:
        What the environment lacks of those, in words.
    """
    have = environment.record.packages
    # Relaxed for the release, and so for what is laid over it.
    known = {one.package for one in environment.record.relaxations} | {
        *map(canonicalize_name, laid)
    }
    missing: dict[str, str] = {}
    for text in requires:
        with suppress(InvalidRequirement):
            one = Requirement(text)
            package = canonicalize_name(one.name)
            if package in known or (
                one.marker is not None
                and not any(one.marker.evaluate({"extra": e}) for e in _EXTRAS)
            ):
                continue
            got = have.get(package)
            if got is None or not one.specifier.contains(got, prereleases=True):
                has = f"it has {got}" if got else "none"
                missing[package] = f"{one.name}{one.specifier} ({has})"
    relaxed = [missing.pop(package) for package in relax if package in missing]
    if missing:
        options = " ".join(f"--relax {package}" for package in missing)
        raise SetupError(
            f"[{name}] requires what the environment of [{PROJECT}=={environment.version}] lacks: "
            f"{'; '.join(missing.values())}. Choose the environment of another release with "
            f"--environment litellm==X, or run it with what this one has: {options}."
        )
    return tuple(relaxed)


async def _environment(source: CodeSource, version: str, progress: Progress) -> Environment:
    release = source.within or await _nearest(version, source.name, progress)
    if source.relax:
        release = release.model_copy(update={"relax": source.relax})
    return await ensure_environment(release, progress)


async def _nearest(version: str, name: str, progress: Progress) -> Release:
    """The release of a version, else the greatest that can be installed below it."""
    exact = release_of(Version(version).public)
    wanted = Version(exact.version)
    here = {*known_releases(), *(one.version for one in installed())}
    if exact.version in here:
        return exact
    progress.phase(f"{name}: looking for the release nearest to {wanted}")
    candidates = {text for text in here if Version(text) <= wanted}
    candidates |= {*filter(None, [await _greatest(wanted)])}
    if not candidates:
        raise SetupError(
            f"There is no release at or below [{version}], the version of [{name}], in the package "
            "index. Choose an environment with --environment litellm==X."
        )
    return release_of(max(candidates, key=Version))


async def _greatest(wanted: Version) -> str | None:
    """The greatest release at or below a version that the index can install; None without one."""
    lines = requirements(release_of(str(wanted))).splitlines()
    asked = "\n".join([f"{PROJECT}[proxy]<={wanted}", *lines[1:], ""])
    with tempfile.TemporaryDirectory(prefix="authcache-nearest-") as name:
        folder = Path(name)
        source, output = folder / "requirements.in", folder / "pins.txt"
        source.write_text(asked, encoding="utf-8")
        try:
            await run_uv(compile_command(find_uv(), source, output, None, universal=False), folder)
        except UvError as error:
            if not unreachable(str(error)):
                return None
            raise SetupError(
                f"The package index cannot be asked for the release nearest to [{wanted}]. Check "
                "the network and the index (UV_DEFAULT_INDEX), or choose an environment that is "
                "installed with --environment litellm==X."
            ) from error
        found = _PINNED.search(output.read_text(encoding="utf-8"))
    return found[1] if found else None


def _complete(code: Path, environment: Environment, name: str) -> str:
    """Take from the environment what a tree lacks or has alike; says whose the native file is.

    A file that is alike is linked, with its time and its bytecode, so that little is copied and
    compiled.

    Raises:
        SetupError: the source needs a native file that the environment's release does not have.
    """
    own = bool(native_files(code / PROJECT))
    theirs = environment.site_packages
    for package in _packages(code):
        for path in [*files_of(code / package)]:
            twin = theirs / path.relative_to(code)
            if twin.is_file() and twin.read_bytes() == path.read_bytes():
                path.unlink()
                _link(twin, path)
                for compiled in (twin.parent / "__pycache__").glob(f"{twin.stem}.*.pyc"):
                    _link(compiled, path.parent / "__pycache__" / compiled.name)
    if own:
        return "own"
    for native in native_files(theirs / PROJECT):
        target = code / native.relative_to(theirs)
        if target.parent.is_dir():
            _link(native, target)
    if native_files(code / PROJECT):
        return "environment"
    if (code / BRIDGE).is_dir() and not (theirs / BRIDGE).is_dir():
        raise SetupError(
            f"[{name}] has [{BRIDGE}], but neither it nor the environment of "
            f"[{PROJECT}=={environment.version}] has its native file, and without it LiteLLM runs "
            "other code. Choose an environment that has it with --environment litellm==X."
        )
    return "none"


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        shutil.copy2(source, target)
