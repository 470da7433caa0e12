"""The environments of installed releases, in the user's cache.

One folder per environment: ``litellm/<version>-py<major.minor>-<fingerprint of the pins>``. A
folder gets that name only when it is complete, and its record says what is in it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.installation import user_cache
from harness.targets.litellm.pins import fingerprint
from harness.targets.litellm.releases import Relaxation, Release

RECORD = "installed.json"
PINS = "pins.txt"
_ENGINE = re.compile(r"""["'](/[^"'\n]*query[-_]engine[^"'\n]*)["']""")


class Record(BaseModel):
    """The record of an environment, kept in its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    """LiteLLM's version."""
    python: str
    """Full version of its Python."""
    recorded_pins: bool
    """Whether the project's pins were installed; otherwise they were resolved for it."""
    packages: dict[str, str]
    """Version by package."""
    installed_bytes: int
    """Size of all files; uv's cache shares some of them where the file system allows it."""
    seconds: float
    """How long the installation took."""
    relax: tuple[str, ...] = ()
    """Packages that the user relaxed, whether that was needed or not."""
    relaxations: tuple[Relaxation, ...] = ()
    """Requirements of the release that are not met: the project's, and the user's."""

    @property
    def relaxed(self) -> tuple[str, ...]:
        """Each of them in words."""
        return tuple(
            f"{one.asked} is asked for, "
            + (f"{self.packages.get(one.package)} is used" if one.use else "none is used")
            + f" ({one.why})"
            for one in self.relaxations
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed release."""

    folder: Path
    record: Record

    @property
    def version(self) -> str:
        """LiteLLM's version, normalised."""
        return self.record.version

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        return site_packages(self.folder)

    @property
    def whole(self) -> bool:
        """Whether it can be started: its interpreter is a link, which may be broken by now."""
        return self.python.exists() and (self.site_packages / "litellm").is_dir()

    @property
    def extras_migrations(self) -> Path:
        """The database migrations that came with the release, one folder each."""
        return self.site_packages / "litellm_proxy_extras" / "migrations"

    @property
    def installed_bytes(self) -> int:
        """Size of all its files."""
        return self.record.installed_bytes

    @property
    def has_prisma_engine(self) -> bool:
        """Whether a Prisma client was generated in it, with an engine that is still there.

        The harness never installs one: the engine is a separate download.
        """
        client = self.site_packages / "prisma" / "client.py"
        if not client.is_file():
            return False
        # The generator writes the engine's path into the client.
        named = _ENGINE.findall(client.read_text(encoding="utf-8"))
        return any(Path(path).is_file() for path in named)


def cache_root() -> Path:
    """Where the environments are; may not exist yet."""
    return user_cache() / "litellm"


def environment_folder(release: Release) -> Path:
    """Where a release's environment for the running Python is, or would be."""
    # Free-threaded and debug builds have wheels of their own, and a letter in the ABI flags.
    python = f"py{sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"
    return cache_root() / f"{release.version}-{python}-{fingerprint(release)}"


def site_packages(folder: Path) -> Path:
    """Where the packages of an environment are."""
    return next(folder.glob("lib/python*/site-packages"), folder / "lib")


def open_environment(folder: Path) -> Environment | None:
    """The environment in a folder, or None if it is missing or incomplete."""
    found = _recorded(folder)
    return found if found is not None and found.whole else None


def installed() -> list[Environment]:
    """All environments, oldest release first, including those that cannot be started any more."""
    root = cache_root()
    folders = [path for path in root.iterdir() if path.name[0] != "."] if root.is_dir() else []
    found = [one for path in folders if (one := _recorded(path)) is not None]
    return sorted(found, key=lambda one: (Version(one.version), one.folder.name))


def _recorded(folder: Path) -> Environment | None:
    try:
        record = Record.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return Environment(folder, record)
