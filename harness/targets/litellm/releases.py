"""Which LiteLLM releases there are, by name, and the one that is refused.

A variant named ``litellm==X`` is release X. `releases.toml` has one row for each release
that the harness knows; any other version that the package index has can be tried.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from harness.errors import RefusedReleaseError, ScenarioError, UsageError, explain

PROJECT = "litellm"
TABLE = "harness/targets/litellm/releases.toml"
"""Where the table is in a checkout, for messages."""

_COMPROMISED = (1, 107)
EXCLUSION = f"{PROJECT}!={'.'.join(map(str, _COMPROMISED))}.*"
"""Part of every resolution, so that no resolver can choose the refused release."""

_RELEASE_NAME = re.compile(rf"\s*{PROJECT}\s*([=<>!~;(\[]|$)", re.IGNORECASE)


_PACKAGE = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", re.ASCII)


class Relaxation(BaseModel):
    """A requirement of a release that is not available, and its replacement, if there is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asked: str
    """The requirement as the release's metadata has it."""
    use: str
    """What the resolver takes instead; empty where the package is left out."""
    why: str

    @property
    def package(self) -> str:
        """Name of the package, normalised."""
        return canonicalize_name(Requirement(self.asked).name)

    @property
    def override(self) -> str:
        """It in the format of uv's overrides; a marker that never holds leaves a package out."""
        return self.use or f"{self.package} ; python_version < '0'"

    @model_validator(mode="after")
    def _of_one_package(self) -> Relaxation:
        try:
            used = (self.use,) if self.use else ()
            names = {canonicalize_name(Requirement(text).name) for text in (self.asked, *used)}
        except InvalidRequirement as error:
            raise ValueError(f"this is not a requirement: {error}") from error
        if len(names) != 1 or PROJECT in names:
            raise ValueError("asked and use must name the same package, and not LiteLLM itself")
        return self


class Release(BaseModel):
    """One release of LiteLLM."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    """Normalised, as ``1.84.0rc1``."""
    title: str
    """What it shows."""
    python: str | None = None
    """Versions of Python that it runs on, as a specifier; None if not recorded."""
    twin: str | None = None
    """The reference variant that behaves as it does, where there is one."""
    hard_coded: tuple[str, ...] = ()
    """What no setting of a scenario changes in it, in sentences for the report."""
    relaxations: tuple[Relaxation, ...] = ()
    history: bool = True
    """Whether the study of all releases takes it if none is named; so many fit into memory."""
    known: bool = True
    """Whether it has a row in the table, and so recorded pins."""
    relax: tuple[str, ...] = ()
    """Packages of which the user takes what the index has, or that may be missing."""

    @field_validator("version")
    @classmethod
    def _normal(cls, text: str) -> str:
        normal = _three_numbers(Version(text))
        if normal != text:
            raise ValueError(f"the normalised spelling is [{normal}]")
        refuse_compromised(text)
        return text

    @field_validator("python")
    @classmethod
    def _a_range(cls, text: str | None) -> str | None:
        try:
            SpecifierSet(text or "")
        except InvalidSpecifier as error:
            raise ValueError(f"this is not a range of versions: {error}") from error
        return text

    @property
    def name(self) -> str:
        """Its variant's name."""
        return f"{PROJECT}=={self.version}"


def is_release_name(name: str) -> bool:
    """Whether a variant's name means a release, well-formed or not, rather than a reference one."""
    return _RELEASE_NAME.match(name) is not None


def is_range(name: str) -> bool:
    """Whether a name is a range of releases, as ``litellm>=1.84.0rc1,<1.89``."""
    try:
        requirement = Requirement(name)
    except InvalidRequirement:
        return False
    return requirement.name.lower() == PROJECT and bool(requirement.specifier)


def covers(name: str, variant: str) -> bool:
    """Whether a name or a range of releases matches a variant of a run."""
    if name == variant or not (is_release_name(variant) and is_range(name)):
        return name == variant
    version = next(iter(Requirement(variant).specifier)).version
    return Requirement(name).specifier.contains(version, prereleases=True)


def parse_release(name: str) -> Release:
    """The release that a variant names, known or not.

    Raises:
        UsageError: the name does not pin one version, or pins one that is refused.
    """
    try:
        requirement = Requirement(name)
    except InvalidRequirement as error:
        raise UsageError(_malformed(name, "a version as PyPI spells it is needed")) from error
    pins = list(requirement.specifier)
    if requirement.name.lower() != PROJECT:
        raise UsageError(_malformed(name, f"the package is [{PROJECT}]"))
    if requirement.url is not None:
        raise UsageError(_malformed(name, "releases come from the package index, not an address"))
    if requirement.extras or requirement.marker is not None:
        raise UsageError(_malformed(name, "the harness sets extras and markers itself"))
    if len(pins) != 1 or pins[0].operator != "==" or pins[0].version.endswith(".*"):
        raise UsageError(_malformed(name, "exactly one version is needed"))
    return release_of(pins[0].version)


def parse_version(text: str) -> Release:
    """The release that a user names, with or without the package's name.

    Raises:
        UsageError: as `parse_release`.
    """
    return parse_release(text) if is_release_name(text) else release_of(text)


def release_of(text: str) -> Release:
    """The release of a version, in any spelling that PEP 440 allows.

    Raises:
        UsageError: no version, one that is refused, or one with an epoch or a local part.
    """
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise UsageError(_malformed(text, "a version as PyPI spells it is needed")) from error
    refuse_compromised(version)
    if version.local is not None or version.epoch:
        raise UsageError(
            _malformed(text, "no release has an epoch or a local part, and a copy is not a release")
        )
    normal = _three_numbers(version)
    known = known_releases().get(normal)
    return known or Release(version=normal, title="not characterised yet", known=False)


def relaxed_names(names: Iterable[str]) -> tuple[str, ...]:
    """The packages that a user relaxes, normalised, in order. Raises UsageError."""
    found = set()
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise UsageError(
                f"[{name}] names no package. --relax takes a name without a version, as in "
                "--relax certifi; the resolver chooses what the index has."
            )
        if canonicalize_name(name) == PROJECT:
            raise UsageError(
                f"[{PROJECT}] cannot be relaxed: a run names the release that it measures. "
                "Name another version as the variant."
            )
        found.add(str(canonicalize_name(name)))
    return tuple(sorted(found))


def refuse_compromised(version: Version | str) -> None:
    """Raise RefusedReleaseError for 1.107 in any spelling.

    That is pre-, post- and dev releases, an epoch, and a local part too.
    """
    parsed = Version(version) if isinstance(version, str) else version
    if (*parsed.release, 0)[: len(_COMPROMISED)] == _COMPROMISED:
        raise RefusedReleaseError(
            f"LiteLLM [{parsed}] is refused: 1.107 is a compromised release, and no option "
            "overrides that. Name another one; harness releases lists the known ones."
        )


def known_releases() -> Mapping[str, Release]:
    """The table, by version, oldest first. Raises ScenarioError for a row that is not valid."""
    return _builtin()


def load_table(text: str, source: str | Path) -> dict[str, Release]:
    """Read a table of releases. Raises ScenarioError."""
    try:
        rows: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"The releases file [{source}] is no TOML: {error}.") from error
    releases = {}
    for version, row in rows.items():
        try:
            releases[version] = Release.model_validate({"version": version} | row)
        except ValidationError as error:
            raise ScenarioError(
                f"The release [{version}] in [{source}] is not valid. {explain(error)}"
            ) from error
    return dict(sorted(releases.items(), key=lambda item: Version(item[0])))


def _three_numbers(version: Version) -> str:
    """The spelling of a version with three numbers, as every release has: 1.84 is 1.84.0."""
    numbers = [*version.release, 0, 0]
    while len(numbers) > 3 and numbers[-1] == 0:  # noqa: PLR2004 - the docstring says it
        numbers.pop()
    rest = str(version).removeprefix(version.base_version)
    return ".".join(map(str, numbers)) + rest


@cache
def _builtin() -> dict[str, Release]:
    text = files("harness.targets.litellm").joinpath("releases.toml").read_text(encoding="utf-8")
    return load_table(text, TABLE)


def _malformed(name: str, reason: str) -> str:
    return f"[{name}] names no release: {reason}. Write it as litellm==1.84.0rc1."
