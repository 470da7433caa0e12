"""The registry of target kinds: which variant belongs to which kind.

Nothing outside `harness.targets` imports a kind itself. Add a kind of your own with `register`.
Code about LiteLLM's releases alone also imports their names from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from harness.errors import UsageError
from harness.targets.base import Choice, TargetKind
from harness.targets.litellm.kind import LiteLLMKind
from harness.targets.litellm.releases import (
    PROJECT,
    covers,
    is_range,
    is_release_name,
    known_releases,
    parse_release,
    parse_version,
)
from harness.targets.mixed import MixedKind
from harness.targets.reference.kind import ReferenceKind

__all__ = [
    "KINDS",
    "PROJECT",
    "REFERENCE",
    "by_kind",
    "covers",
    "index_versions",
    "installed_versions",
    "is_range",
    "is_release_name",
    "kind_of",
    "kind_of_choice",
    "known_releases",
    "matches",
    "parse_release",
    "parse_version",
    "register",
]

REFERENCE = ReferenceKind()
"""Owns every variant that no other kind owns."""
_kinds: dict[str, TargetKind[Any]] = {kind.name: kind for kind in (REFERENCE, LiteLLMKind())}
KINDS: Mapping[str, TargetKind[Any]] = MappingProxyType(_kinds)
"""Kinds by name."""


def register(kind: TargetKind[Any]) -> None:
    """Add a kind. Raises UsageError if its name is taken."""
    if kind.name in _kinds:
        raise UsageError(f"The kind of target [{kind.name}] exists already. Choose another name.")
    _kinds[kind.name] = kind


def kind_of(variant: str) -> TargetKind[Any]:
    """The kind that a variant's name, or a range of variants, belongs to."""
    others = (kind for kind in _kinds.values() if kind is not REFERENCE)
    return next((kind for kind in others if kind.owns(variant)), REFERENCE)


def kind_of_choice(choice: Choice) -> TargetKind[Any]:
    """The kind of a choice, whose name may be a short one."""
    others = (kind for kind in _kinds.values() if kind is not REFERENCE)
    return next((kind for kind in others if kind.makes(choice)), REFERENCE)


def by_kind(variants: Iterable[str]) -> list[tuple[TargetKind[Any], list[str]]]:
    """Names of variants, grouped by their kinds."""
    groups: dict[str, list[str]] = {}
    for variant in variants:
        groups.setdefault(kind_of(variant).name, []).append(variant)
    return [(_kinds[name], names) for name, names in groups.items()]


def index_versions() -> list[str]:
    """Versions of LiteLLM that the package index has, oldest first. Raises SetupError."""
    # Parsing a name must not import what only a listing needs.
    from harness.targets.litellm.listing import index_versions as listed  # noqa: PLC0415 - see above

    return listed()


def installed_versions() -> list[str]:
    """Versions of LiteLLM that are installed here, oldest first."""
    from harness.targets.litellm.listing import installed_versions as here  # noqa: PLC0415 - as above

    return here()


def matches(name: str, variant: str) -> bool:
    """Whether a name, or a range of variants, matches a variant of a run."""
    return kind_of(variant).matches(name, variant)


register(MixedKind(kind_of, kind_of_choice))
