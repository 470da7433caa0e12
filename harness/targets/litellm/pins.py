"""The hashed pins of a release's environment, resolved from the release's own metadata.

The project records the pins of known releases, so that their environments are reproducible. For any
other release they are resolved when it is installed, and kept in its environment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.errors import SetupError
from harness.targets.litellm.releases import (
    EXCLUSION,
    PROJECT,
    Relaxation,
    Release,
    refuse_compromised,
)

PINS_FOLDER = Path(__file__).parent / "pins"
_NEEDED = ("asyncpg", "prometheus-client", "redis", "uvicorn")
"""What a replica needs besides the release, if the release does not require it: the database
adapter, the counters, and a server. Unpinned here: the release's own pins decide."""

_ENTRY = re.compile(
    r"^(?P<pin>[a-z0-9][a-z0-9.-]*==(?P<version>[^\s;]+)(?: ; [^\\\n]+)?)"
    r"(?: \\\n    --hash=\w+:[0-9a-f]+)+$"
)


def requirements(release: Release) -> str:
    """The resolver's input: the proxy of this release, our additions, never 1.107."""
    lines = (f"{PROJECT}[proxy]=={release.version}", EXCLUSION, *_NEEDED)
    return "".join(f"{line}\n" for line in lines)


def overrides(relaxations: Iterable[Relaxation]) -> str:
    """Relaxations in uv's format; empty if there are none."""
    return "".join(f"{one.override}\n" for one in relaxations)


def recorded_pins(release: Release) -> str | None:
    """The pins that the project records for a release whose packages are not relaxed, or None."""
    path = PINS_FOLDER / f"{release.version}.txt"
    recorded = release.known and not release.relax and path.is_file()
    return path.read_text(encoding="utf-8") if recorded else None


def fingerprint(release: Release) -> str:
    """Eight hexadecimal digits that change with what would be installed.

    They hash the recorded pins or, if there are none, the resolver's input, with the packages that
    the user relaxes.
    """
    relaxed = "".join(f"relax {name}\n" for name in release.relax)
    resolved = requirements(release) + overrides(release.relaxations) + relaxed
    text = recorded_pins(release) or resolved
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_pins(text: str, release: Release) -> Mapping[str, str]:
    """The pinned version by package, for this Python and platform.

    All pins are checked here before they are installed, recorded or newly resolved.

    Raises:
        SetupError: an entry without a hash, an entry that is an address or an option, or another
            version of LiteLLM than the release's.
        UsageError: the pins hold the refused release.
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
    """Package, version, and whether the pin applies to this Python and platform."""
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
        f"The pins of [{release.name}] have an entry that is not a hashed pin: [{line}]. "
        "Make them again with: make lock-releases."
    )
