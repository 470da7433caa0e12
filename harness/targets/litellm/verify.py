"""What has really been installed, against what was meant to be."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from harness.errors import SetupError
from harness.targets.litellm.releases import PROJECT, TABLE, Release, refuse_compromised


def verify(site_packages: Path, release: Release, pinned: Mapping[str, str]) -> dict[str, str]:
    """The installed version by package.

    Raises:
        UsageError: the release that is refused has come in, by whatever way.
        SetupError: something else than the pins is there, or a requirement of the release is not
            met and no relaxation says so, or a relaxation is of something that it does not ask.
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
                f"The environment of [{release.name}] was to have {name} [{wanted}] and has "
                f"[{got}]. Nothing was kept. Check what your package index gives for it."
            )
    _check_requirements(found[PROJECT], versions, release)
    return versions


def _check_requirements(
    litellm: Distribution, versions: Mapping[str, str], release: Release
) -> None:
    relaxed = {Requirement(one.asked): Requirement(one.use) for one in release.relaxations}
    asked = [Requirement(line) for line in litellm.requires or []]
    for requirement in asked:
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": e}) for e in ("", "proxy")):
            continue
        bare = Requirement(f"{requirement.name}{requirement.specifier}")
        allowed = relaxed.pop(bare, bare)
        got = versions.get(canonicalize_name(requirement.name))
        if got is None or not allowed.specifier.contains(got, prereleases=True):
            raise SetupError(
                f"[{release.name}] asks for [{requirement}], and its pins have [{got}]. "
                "Make them again with: make lock-releases."
            )
    if relaxed:
        raise SetupError(
            f"A relaxation of [{release.name}] in {TABLE} is of something that the release does "
            f"not ask: [{next(iter(relaxed))}]. Remove it."
        )
