"""Where a LiteLLM comes from: a release, a working tree, a commit, or a wheel file.

A variant's name is one of these, with or without a short name before it:

    litellm==1.105.7            a release of the package index
    litellm@../litellm          a working tree, with its changed and untracked files
    litellm@../litellm#REV      a commit, tag or branch of a local repository
    litellm@dist/litellm-X.whl  a wheel file
    head=litellm@../litellm     any of them under the name [head]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from harness.errors import UsageError
from harness.targets.litellm.releases import (
    PROJECT,
    Release,
    is_release_name,
    parse_release,
    parse_version,
    refuse_compromised,
    relaxed_names,
)

WHEEL = ".whl"
_SHORT = re.compile(r"\s*(?P<short>[a-z][a-z0-9_-]*)=(?!=)(?P<source>.+)", re.DOTALL)
_PLACE = re.compile(rf"\s*{PROJECT}\s*@\s*(?P<place>.*)", re.DOTALL | re.IGNORECASE)
_BAD_SHORT = re.compile(rf"(?P<short>[^=@]*)=(?!=)\s*{PROJECT}\s*[@=<>!~]", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file of the user's own."""

    path: Path
    keep_callbacks: bool = False
    """Whether what calls other services stays on."""


@dataclass(frozen=True, slots=True)
class CodeSource:
    """A LiteLLM under a name, and how to run it. Without a place it is a release."""

    name: str
    """Of its variant."""
    release: Release | None = None
    place: Path | None = None
    """A folder inside a repository, or a wheel file; absolute."""
    revision: str | None = None
    """None is the working tree."""
    within: Release | None = None
    """The release whose environment is used; None is the nearest."""
    relax: tuple[str, ...] = ()
    config: Config | None = None

    @property
    def kind(self) -> str:
        """``release``, ``tree``, ``commit`` or ``wheel``."""
        if self.place is None:
            return "release"
        if self.place.suffix == WHEEL:
            return "wheel"
        return "tree" if self.revision is None else "commit"

    @property
    def title(self) -> str:
        """The source in a line."""
        if self.place is None or self.release is not None:
            assert self.release is not None, "a source has a place or a release"
            return self.release.title
        what = {"tree": "working tree", "commit": "commit", "wheel": "wheel"}[self.kind]
        at = f" at {self.revision}" if self.revision else ""
        return f"{what} [{self.place.name}]{at}, not a release"


def is_source_name(name: str) -> bool:
    """Whether a variant's name means a source of LiteLLM, well-formed or not."""
    source = _unnamed(name)
    return any((is_release_name(source), _PLACE.match(source), _BAD_SHORT.match(source)))


def parse_source(name: str) -> Release | CodeSource:
    """The source that a variant names; a release without a short name is the release itself.

    A ``#`` begins a revision, unless the path exists with it.

    Raises:
        UsageError: the name pins no release, or there is no such folder or wheel file.
    """
    short = _SHORT.fullmatch(name)
    text = _unnamed(name)
    if bad := _BAD_SHORT.match(text):
        raise UsageError(
            f"[{bad['short'].strip()}] is no short name. Begin with a small letter and go on with "
            "small letters, digits, _ or -, as in head=litellm@FOLDER."
        )
    place = _PLACE.fullmatch(text)
    if place is None:
        release = parse_release(text)
        return release if short is None else CodeSource(short["short"], release)
    path, revision = _place(place["place"].strip(), text)
    unnamed = f"{PROJECT}@{_safe(path.name)}" + (f"#{_safe(revision)}" if revision else "")
    return CodeSource(
        short["short"] if short else unnamed[:_LONGEST_NAME], place=path, revision=revision
    )


def configured(
    choice: Release | CodeSource, *, within: str | None = None, config: Config | None = None
) -> Release | CodeSource:
    """A choice that runs in another environment, or with a configuration of the user's own.

    Raises:
        UsageError: the environment names no release, or the configuration cannot be read.
    """
    if config is not None and not config.path.is_file():
        raise UsageError(f"There is no configuration file [{config.path}]. Check --config.")
    environment = None if within is None else parse_version(within)
    if isinstance(choice, Release):
        # A release runs in its own environment alone.
        return choice if config is None else CodeSource(choice.name, choice, config=config)
    if choice.place is None:
        environment = None
    return replace(choice, within=environment, config=config)


def relaxed(choice: CodeSource, packages: Sequence[str]) -> CodeSource:
    """A source in whose environment some packages may be others. Raises UsageError."""
    return replace(choice, relax=relaxed_names(packages))


def _unnamed(name: str) -> str:
    short = _SHORT.fullmatch(name)
    return short["source"].strip() if short else name.strip()


def _place(text: str, name: str) -> tuple[Path, str | None]:
    path, revision = Path(text).expanduser(), None
    if not path.exists() and "#" in text:
        before, _, revision = text.rpartition("#")
        path = Path(before).expanduser()
    if not text or not path.exists():
        raise UsageError(
            f"[{name}] names no source: there is neither a folder nor a file [{path}]. Write "
            "litellm@FOLDER, litellm@FOLDER#REV or litellm@FILE.whl; a release is litellm==1.84.0."
        )
    if revision == "":
        raise UsageError(f"[{name}] has an empty revision. Write one after the #, or leave it out.")
    path = path.resolve()
    if path.is_dir():
        return path, revision
    if path.suffix != WHEEL or revision is not None:
        raise UsageError(
            f"[{name}] is neither a folder nor a wheel. Name the folder of a repository, or a "
            "file that ends in .whl, without a revision."
        )
    _check_wheel_name(path)
    return path, None


def _check_wheel_name(path: Path) -> None:
    try:
        project, version, *_ = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise UsageError(
            f"[{path.name}] is not a wheel's name: {error}. Keep the name it was built with."
        ) from error
    if project != PROJECT:
        raise UsageError(
            f"[{path.name}] is a wheel of [{project}], not of [{PROJECT}]. Name LiteLLM's own."
        )
    refuse_compromised(version)


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-") or "tree"
