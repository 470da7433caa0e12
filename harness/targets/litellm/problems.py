"""What the package manager's failures mean for a release, and what to do about them."""

from __future__ import annotations

import platform
import re
import sysconfig

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from harness.errors import HarnessError, SetupError, UnknownNameError
from harness.targets.litellm.releases import PROJECT, TABLE, Release, known_releases

_NAME = r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\]|\{[^}]*\})*"
_LACKING = (
    # As in: Because there is no version of litellm-proxy-extras==0.4.113 and …
    re.compile(rf"there (?:is|are) no versions? of {_NAME}(?P<asked>[=<>!~]=?[^ ,]+)"),
    # As in: Because only certifi<=2026.10.18 is available and litellm>=1.109.1 depends on
    # certifi>=2026.10.19, …
    re.compile(
        rf"only {_NAME}[^,]*? (?:is|are) available .*? depends on (?P=name)(?P<asked>[^ ,]+)"
    ),
)
_NO_WHEEL = re.compile(rf"{_NAME}==(?P<version>[^ ]+) has no (?:usable )?wheels")
_PYTHON = re.compile(r"does not satisfy Python(?P<range>\S+)")
_UNREACHABLE = re.compile(r"Failed to fetch|error sending request|network was disabled|timed out")
_HASH = re.compile(r"Hash mismatch for `(?P<package>[^`]+)`")


def check_python(release: Release, running: str | None = None) -> None:
    """Raise SetupError where the running Python is too old or too new for a release."""
    running = running or platform.python_version()
    allowed = SpecifierSet(release.python or "")
    if not allowed.contains(running, prereleases=True):
        raise _wrong_python(release, str(release.python), running)


def explain_uv(release: Release, written: str) -> HarnessError:
    """The error to raise for a failure of uv; `written` is its error output."""
    text = " ".join(written.split())
    for pattern in _LACKING:
        if match := pattern.search(text):
            return _lacking(release, match["name"], match["asked"])
    if match := _PYTHON.search(text):
        return _wrong_python(release, match["range"], platform.python_version())
    if match := _NO_WHEEL.search(text):
        return SetupError(
            f"[{release.name}] needs [{match['name']}=={match['version']}], which has no wheel for "
            f"this platform [{sysconfig.get_platform()}] and Python [{platform.python_version()}]. "
            "Use another Python or machine, or another release."
        )
    if match := _HASH.search(text):
        return SetupError(
            f"[{match['package']}], which [{release.name}] needs, is not the file that was pinned. "
            "Nothing was installed. Check where your package index gets its files."
        )
    advice = (
        "Check the network and the index (UV_DEFAULT_INDEX), then try again."
        if _UNREACHABLE.search(text)
        else "Fix that and try again."
    )
    return SetupError(f"[{release.name}] could not be installed: [{_last(written)}]. {advice}")


def _lacking(release: Release, name: str, asked: str) -> HarnessError:
    if canonicalize_name(name) == PROJECT:
        return UnknownNameError(
            "LiteLLM release on the package index", release.version, known_releases()
        )
    row = "" if release.known else f'add ["{release.version}"] with a title, and '
    return SetupError(
        f"[{release.name}] asks for [{name}{asked}], which the package index does not have. "
        f"To use what it has, record a relaxation in {TABLE}: {row}under "
        f'["{release.version}"] put relaxations = [{{ asked = "{name}{asked}", use = "{name}", '
        'why = "…" }]. Then try again.'
    )


def _wrong_python(release: Release, allowed: str, running: str) -> SetupError:
    return SetupError(
        f"[{release.name}] runs on Python [{allowed}], but this is Python [{running}]. "
        "Set the project up with another one: make clean, then make PYTHON=python3.13 …, "
        "or choose another release."
    )


def _last(written: str) -> str:
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("hint:")] or ["no message"]
    return told[-1].removeprefix("error: ").removeprefix("cause: ")
