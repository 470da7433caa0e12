"""What the package manager's failures mean for a release, and what to do about them."""

from __future__ import annotations

import platform
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from harness.errors import HarnessError, SetupError, UnknownNameError
from harness.targets.litellm.releases import PROJECT, TABLE, Release, known_releases

_NAME = r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\]|\{[^}]*\})*"
_RANGE = r"[=<>!~]=?[^ ,]+(?:,[=<>!~]=?[^ ,]+)*"
_REASON = re.compile(r"\bBecause\b.*?(?=\n\s*\n|\n\s*hint:|\Z)", re.DOTALL)
"""The resolver's reasoning, which it wraps to the width of the terminal."""
_HINT = re.compile(r"^\s*hint: (.*?)(?=\n\s*\n|\n\s*(?:hint|error):|\Z)", re.DOTALL | re.MULTILINE)
_LACKING = (
    # As in: Because litellm-proxy was not found in the package registry and litellm[proxy]>=1.110.2
    # depends on litellm-proxy==1.110.2, …
    re.compile(
        rf"{_NAME} was not found in the (?P<gone>package registry|provided package locations) .*?"
        rf" depends? on (?P=name)(?P<asked>(?:{_RANGE})?)"
    ),
    # As in: Because there is no version of litellm-proxy-extras==0.4.113 and …
    re.compile(rf"there (?:is|are) no versions? of {_NAME}(?P<asked>{_RANGE})"),
    # As in: Because only certifi<=2026.10.18 is available and litellm>=1.109.1 depends on
    # certifi>=2026.10.19, …
    re.compile(
        rf"only {_NAME}[^,]*? (?:is|are) available .*? depends? on (?P=name)(?P<asked>{_RANGE})"
    ),
)
_NO_WHEEL = re.compile(rf"{_NAME}==(?P<version>[^ ]+) has no (?:usable )?wheels")
_PYTHON = re.compile(r"does not satisfy Python(?P<range>\S+)")
_UNREACHABLE = re.compile(r"Failed to fetch|error sending request|network was disabled|timed out")
_HASH = re.compile(r"Hash mismatch for `(?P<package>[^`]+)`")


class LackingPackageError(SetupError):
    """The package index lacks what a release requires, or what its pins name."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """A requirement that the package index cannot meet."""

    name: str
    """As the resolver spells it."""
    asked: str
    """The versions that are asked for, as ``==1.2``."""
    gone: bool
    """Whether the index lacks the package entirely."""
    reasoning: str
    """What the resolver says about it, with every line that names a package."""

    @property
    def package(self) -> str:
        """Its name, normalised."""
        return str(canonicalize_name(self.name))

    def replacements(self) -> tuple[str, ...]:
        """Requirements to try instead, best first; an empty one leaves the package out.

        For one version: the nearest before it, then any. For a range, which the index does not
        reach: any.
        """
        if self.gone:
            return ("",)
        version = re.fullmatch(r"==([^*,]+)", self.asked)
        before = (f"{self.name}<={version[1]}",) if version else ()
        return (*before, self.name)


def lacking(written: str) -> Lacking | None:
    """The requirement that made the resolver give up, if that was the reason."""
    text = " ".join(written.split())
    for pattern in _LACKING:
        if match := pattern.search(text):
            gone = "gone" in match.groupdict()
            return Lacking(match["name"], match["asked"], gone, _reasoning(written))
    return None


def check_python(release: Release, running: str | None = None) -> None:
    """Raise SetupError where the running Python is too old or too new for a release."""
    running = running or platform.python_version()
    allowed = SpecifierSet(release.python or "")
    if not allowed.contains(running, prereleases=True):
        raise _wrong_python(release, str(release.python), running)


def unreachable(written: str) -> bool:
    """Whether uv failed because it could not ask the package index."""
    return _UNREACHABLE.search(" ".join(written.split())) is not None


def explain_uv(release: Release, written: str) -> HarnessError:
    """The error to raise for a failure of uv; `written` is its error output."""
    text = " ".join(written.split())
    if (one := lacking(written)) is not None:
        return explain_lacking(release, [one])
    reasoning = _reasoning(written)
    says = f" The resolver says: {reasoning}" if reasoning else ""
    if match := _PYTHON.search(text):
        return _wrong_python(release, match["range"], platform.python_version(), says)
    if match := _NO_WHEEL.search(text):
        return SetupError(
            f"[{release.name}] needs [{match['name']}=={match['version']}], which has no wheel for "
            f"this platform [{sysconfig.get_platform()}] and Python [{platform.python_version()}]. "
            f"Use another Python or machine, or another release.{says}"
        )
    if match := _HASH.search(text):
        return SetupError(
            f"[{match['package']}], which [{release.name}] needs, is not the file that was pinned. "
            "Nothing was installed. Check where your package index gets its files."
        )
    said = reasoning or _last(written)
    advice = (
        "Check the network and the index (UV_DEFAULT_INDEX), then try again."
        if unreachable(written)
        else "Fix that and try again."
    )
    return SetupError(f"[{release.name}] could not be installed: [{said}]. {advice}")


def explain_lacking(
    release: Release, missing: Sequence[Lacking], *, recording: bool = False
) -> HarnessError:
    """The error to raise where the index cannot meet requirements of a release, all of them.

    Args:
        release: what was to be installed.
        missing: what the index lacks.
        recording: the project's own pins are made, so that the table of releases has the answer.
    """
    if any(one.package == PROJECT for one in missing):
        return UnknownNameError(
            "LiteLLM release on the package index", release.version, known_releases()
        )
    asked = ", ".join(f"{one.name}{one.asked}" for one in missing)
    said = " ".join(one.reasoning for one in missing)
    if recording:
        rows = ", ".join(
            f'{{ asked = "{one.name}{one.asked}", use = "{one.replacements()[0]}", why = "…" }}'
            for one in missing
        )
        advice = (
            f'record a relaxation in {TABLE}: under ["{release.version}"] put '
            f"relaxations = [{rows}]. Then try again."
        )
    else:
        options = " ".join(f"--relax {one.package}" for one in missing)
        names = ",".join(one.package for one in missing)
        gone = [one.name for one in missing if one.gone]
        without = f", and run without [{', '.join(gone)}], which it lacks entirely" if gone else ""
        advice = f"try again with {options} (make: RELAX={names}){without}."
    return LackingPackageError(
        f"[{release.name}] asks for [{asked}], which the package index does not have. "
        f"To use what it has, {advice} The resolver says: {said}"
    )


def _reasoning(written: str) -> str:
    """What the resolver says, with its hints; empty where it does not reason."""
    reasons = _REASON.findall(written)
    parts = [*reasons, *_HINT.findall(written)] if reasons else []
    return " ".join(" ".join(parts).replace("cause: ", "").split())


def _wrong_python(release: Release, allowed: str, running: str, says: str = "") -> SetupError:
    return SetupError(
        f"[{release.name}] runs on Python [{allowed}], but this is Python [{running}]. "
        "Set the project up with another one: make clean, then make PYTHON=python3.13 …, "
        f"or choose another release.{says}"
    )


def _last(written: str) -> str:
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("hint:")] or ["no message"]
    return told[-1].removeprefix("error: ").removeprefix("cause: ")
