"""What goes into a release's environment: hashed pins, made from the release's own metadata.

A known release has its pins in the project, so that its environment is the same tomorrow. For any
other release they are made when it is installed, and kept in its environment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.errors import SetupError
from harness.targets.litellm.releases import EXCLUSION, PROJECT, Release, refuse_compromised

PINS_FOLDER = Path(__file__).parent / "pins"
_NEEDED = ("asyncpg", "prometheus-client", "redis", "uvicorn")
"""What a replica needs beside the release, where the release does not bring it: the database
adapter, the counters, and a server. Unpinned here: the release's own pins decide."""

_ENTRY = re.compile(
    r"^(?P<pin>[a-z0-9][a-z0-9.-]*==(?P<version>[^\s;]+)(?: ; [^\\\n]+)?)"
    r"(?: \\\n    --hash=\w+:[0-9a-f]+)+$"
)


def requirements(release: Release) -> str:
    """What the resolver is asked for: the proxy of this release, what we add, never 1.107."""
    lines = (f"{PROJECT}[proxy]=={release.version}", EXCLUSION, *_NEEDED)
    return "".join(f"{line}\n" for line in lines)


def overrides(release: Release) -> str:
    """The recorded relaxations, as uv takes them; empty where there is none."""
    return "".join(f"{one.use}\n" for one in release.relaxations)


def recorded_pins(release: Release) -> str | None:
    """The pins that the project has for a release. None where it has none."""
    path = PINS_FOLDER / f"{release.version}.txt"
    return path.read_text(encoding="utf-8") if release.known and path.is_file() else None


def fingerprint(release: Release) -> str:
    """Eight hexadecimal digits that change with what would be installed.

    Of the recorded pins, or of what the resolver would be asked for.
    """
    text = recorded_pins(release) or requirements(release) + overrides(release)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_pins(text: str, release: Release) -> Mapping[str, str]:
    """The pinned version by package, of those that this Python and platform take.

    Everything that will be installed passes here, whoever resolved it.

    Raises:
        SetupError: an entry without a hash, an address, an option, another version of LiteLLM
            than the release's.
        UsageError: the release that is refused.
    """
    pinned: dict[str, str] = {}
    for entry in re.split(r"\n(?! )", text.strip("\n")):
        name, version, applies = _read_entry(entry, release)
        if name == PROJECT:
            refuse_compromised(version)
        if applies:
            pinned[name] = version
    if pinned.get(PROJECT) != release.version:
        raise SetupError(
            f"The pins of [{release.name}] hold LiteLLM [{pinned.get(PROJECT)}]. "
            "Make them again with: make lock-releases."
        )
    return MappingProxyType(pinned)


def _read_entry(entry: str, release: Release) -> tuple[str, str, bool]:
    """Package, version, and whether this Python and platform take it."""
    match = _ENTRY.match(entry)
    try:
        if match is not None:
            requirement = Requirement(match["pin"])
            applies = requirement.marker is None or requirement.marker.evaluate()
            return canonicalize_name(requirement.name), str(Version(match["version"])), applies
    except (InvalidRequirement, InvalidVersion):
        pass
    line = entry.partition("\n")[0]
    raise SetupError(
        f"The pins of [{release.name}] have an entry that is no hashed pin: [{line}]. "
        "Make them again with: make lock-releases."
    )
