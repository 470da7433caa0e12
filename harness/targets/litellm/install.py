"""Creates the environment of a release once; later uses find it in the cache."""

from __future__ import annotations

import platform
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from harness.domain.progress import Progress
from harness.errors import SetupError, UnknownNameError
from harness.targets.litellm.environment import (
    PINS,
    RECORD,
    Environment,
    Record,
    cache_root,
    environment_folder,
    installed,
    open_environment,
    site_packages,
)
from harness.targets.litellm.folders import ROOM, atomic_folder, remove_whole, sole_maker
from harness.targets.litellm.pins import read_pins, recorded_pins
from harness.targets.litellm.problems import LackingPackageError, check_python, explain_uv
from harness.targets.litellm.releases import (
    PROJECT,
    TABLE,
    Relaxation,
    Release,
    refuse_compromised,
)
from harness.targets.litellm.resolve import resolve
from harness.targets.litellm.uv import UvError, find_uv, install_command, run_uv, venv_command


@dataclass(frozen=True, slots=True)
class Removed:
    """A removed environment. Sizes in bytes."""

    environment: Environment
    freed_bytes: int
    shared_bytes: int
    """Of files that uv's cache shares, so that they stay on the disk."""


async def ensure_environment(release: Release, progress: Progress) -> Environment:
    """The environment of a release; created if there is none, which needs the package index.

    A second caller waits for the first. When cancelled, nothing is left behind. Packages that the
    user relaxes count only where the index lacks what the project's pins name.

    Raises:
        RefusedReleaseError: the release is the refused one.
        UnknownNameError: the index has no such release.
        SetupError: the release does not support the running Python, a requirement or a wheel is not
            available, the index cannot be reached, or the packages differ from the pins.
    """
    refuse_compromised(release.version)
    check_python(release)
    as_pinned = release.model_copy(update={"relax": ()})
    if release.relax and recorded_pins(as_pinned) is not None:
        try:
            return await ensure_environment(as_pinned, progress)
        except LackingPackageError:
            progress.note(f"{release.name}: resolving anew; the index lacks what its pins name")
    folder = environment_folder(release)
    if (found := open_environment(folder)) is not None:
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return await _made(release, folder, progress)
    except OSError as error:
        raise SetupError(
            f"[{release.name}] could not be installed into [{folder.parent}]: {error.strerror}. "
            f"{ROOM}"
        ) from error


def remove(versions: Collection[str] | None = None) -> list[Removed]:
    """Remove the environments of some releases, or all. Runs that use them break.

    Raises:
        UnknownNameError: one of the releases is not installed; nothing is removed then.
    """
    here = installed()
    for version in versions or ():
        if version not in (known := {one.version for one in here}):
            raise UnknownNameError("installed release", version, known)
    chosen = [one for one in here if versions is None or one.version in versions]
    removed = []
    for environment in chosen:
        sizes = _links_and_sizes(environment.folder)
        if remove_whole(environment.folder):
            freed = sum(size for links, size in sizes if links == 1)
            removed.append(Removed(environment, freed, sum(size for _, size in sizes) - freed))
    return removed


async def _made(release: Release, folder: Path, progress: Progress) -> Environment:
    def waiting() -> None:
        progress.phase(f"{release.name}: waiting for another process to install it")

    async with sole_maker(folder, waiting):
        if (found := open_environment(folder)) is not None:
            return found
        with atomic_folder(folder) as partial:
            record = await _fill(partial, release, progress)
    progress.note(
        f"{release.name}: {len(record.packages)} packages, {record.installed_bytes / 1e6:.0f} MB, "
        f"installed in {record.seconds:.0f} s"
    )
    return Environment(folder, record)


async def _fill(folder: Path, release: Release, progress: Progress) -> Record:
    started = time.monotonic()
    text = recorded_pins(release)
    recorded = text is not None
    by_user: tuple[Relaxation, ...] = ()
    if text is None:
        progress.phase(f"{release.name}: resolving packages; the project has no pins for it")
        text, by_user = await resolve(release, universal=False)
        for name in sorted({*release.relax} - {one.package for one in by_user}):
            progress.note(f"{release.name}: --relax {name} was not needed; the index has it")
    pinned = read_pins(text, release)
    progress.phase(
        f"{release.name}: installing {len(pinned)} packages, once; takes 400 to 800 MB in "
        f"{cache_root()}"
    )
    uv = find_uv()
    try:
        await run_uv(venv_command(uv, folder), folder.parent)
        (folder / PINS).write_text(text, encoding="utf-8")
        await run_uv(install_command(uv, folder, folder / PINS), folder)
    except UvError as error:
        raise explain_uv(release, str(error)) from error
    packages = verify(site_packages(folder), release, pinned, by_user)
    record = Record(
        version=release.version,
        python=platform.python_version(),
        recorded_pins=recorded,
        packages=packages,
        relax=release.relax,
        relaxations=(*release.relaxations, *by_user),
        installed_bytes=sum(size for _, size in _links_and_sizes(folder)),
        seconds=round(time.monotonic() - started, 1),
    )
    (folder / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    return record


def _links_and_sizes(folder: Path) -> list[tuple[int, int]]:
    states = [path.lstat() for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return [(state.st_nlink, state.st_size) for state in states]


def verify(
    site_packages: Path,
    release: Release,
    pinned: Mapping[str, str],
    by_user: Sequence[Relaxation] = (),
) -> dict[str, str]:
    """The installed version by package.

    Args:
        site_packages: of the environment.
        release: gives the relaxations that the project records.
        pinned: version by package.
        by_user: what the user's relaxations came to.

    Raises:
        RefusedReleaseError: the refused release was installed.
        SetupError: the packages differ from the pins, a requirement of the release is neither met
            nor relaxed, or a relaxation matches no requirement.
    """
    found: dict[str, Distribution] = {
        canonicalize_name(one.name): one for one in distributions(path=[str(site_packages)])
    }
    if PROJECT in found:
        refuse_compromised(found[PROJECT].version)
    versions: dict[str, str] = {name: found[name].version for name in sorted(found)}
    for name in sorted(versions.keys() | pinned.keys()):
        wanted, got = pinned.get(name), versions.get(name)
        if wanted is None or got is None or Version(wanted) != Version(got):
            raise SetupError(
                f"The environment of [{release.name}] should have {name} [{wanted}] but has "
                f"[{got}]. Nothing was kept. Check what your package index serves for it."
            )
    _check_requirements(found[PROJECT], versions, release, by_user)
    return versions


def _check_requirements(
    litellm: Distribution,
    versions: Mapping[str, str],
    release: Release,
    by_user: Sequence[Relaxation],
) -> None:
    relaxed = {Requirement(one.asked): one for one in (*by_user, *release.relaxations)}
    asked = [Requirement(line) for line in litellm.requires or []]
    for requirement in asked:
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": e}) for e in ("", "proxy")):
            continue
        bare = Requirement(f"{requirement.name}{requirement.specifier}")
        instead = relaxed.pop(bare, None)
        allowed = bare if instead is None else Requirement(instead.use or instead.asked)
        got = versions.get(canonicalize_name(requirement.name))
        left_out = instead is not None and not instead.use
        if left_out != (got is None) or (
            got is not None and not allowed.specifier.contains(got, prereleases=True)
        ):
            raise SetupError(
                f"[{release.name}] requires [{requirement}], but its pins have [{got}]. "
                "Make them again with: make lock-releases."
            )
    # The user's may be of a requirement of another package.
    if {*relaxed} - {Requirement(one.asked) for one in by_user}:
        raise SetupError(
            f"A relaxation of [{release.name}] in {TABLE} matches no requirement of the "
            f"release: [{next(iter(relaxed))}]. Remove it."
        )
