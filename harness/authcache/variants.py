"""Named variants: one row per variant in ``variants.toml`` or in a user's file."""

from __future__ import annotations

import tomllib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.authcache.codecs import load_codec
from harness.authcache.switches import Switches
from harness.errors import ScenarioError, UnknownNameError, UsageError, explain

M = TypeVar("M", bound=BaseModel)

BASELINE = "litellm_1_84"
"""The usual baseline of `differences`."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A named set of switches."""

    name: str
    title: str
    stands_for: str
    switches: Switches
    overridden: tuple[str, ...] = ()
    """Switches that the command line changed."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str
    stands_for: str
    base: str | None = None
    switches: dict[str, Any] = {}


def load_variants(extra: Path | None = None) -> dict[str, Variant]:
    """All variants by name: the built-in ones, then those of a user's file.

    Raises:
        ScenarioError: a row with an unknown field, a wrong value, an unknown base, or a name that
            is taken twice.
        UsageError: the file cannot be read.
    """
    builtin = files("harness.authcache").joinpath("variants.toml").read_text(encoding="utf-8")
    variants: dict[str, Variant] = {}
    _add(variants, builtin, "variants.toml")
    if extra is not None:
        try:
            text = extra.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"The variants file [{extra}] cannot be read: {error.strerror}. Check the path."
            ) from error
        _add(variants, text, str(extra))
    return variants


def pick(
    variants: Mapping[str, Variant], names: Sequence[str], *, besides: Container[str] = ()
) -> list[Variant]:
    """The variants of the given names, in that order; checks that their codecs load.

    Args:
        variants: all known variants.
        names: the requested ones.
        besides: names that are not variants here; they are skipped.

    Raises:
        UnknownNameError: no variant has that name; suggests the nearest.
        UsageError: a name is given twice, or none at all.
        CodecLoadError: a codec cannot be loaded.
    """
    picked: list[Variant] = []
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(f"The variant [{name}] is named twice. Name each variant once.")
        if name in besides:
            continue
        if name not in variants:
            raise UnknownNameError("variant", name, variants, "List them with: harness variants.")
        load_codec(variants[name].switches.codec)
        picked.append(variants[name])
    if not names:
        raise UsageError("No variant is named. Name at least one, e.g. --variants litellm_1_84.")
    return picked


def override(variant: Variant, changes: Mapping[str, str]) -> Variant:
    """The variant with some switches changed, under the same name.

    This shows that an expectation can fail: put a healthy codec under a broken variant's name, or
    a broken one under a healthy name.

    Raises:
        UnknownNameError: no such switch.
        ScenarioError: a value that the switch does not take.
    """
    for name in changes:
        if name not in Switches.model_fields:
            raise UnknownNameError("switch", name, Switches.model_fields)
    merged = variant.switches.model_dump() | dict(changes)
    return Variant(
        variant.name,
        variant.title,
        variant.stands_for,
        _validate(Switches, merged, f"override of variant [{variant.name}]"),
        tuple(sorted({*variant.overridden, *changes})),
    )


def differences(variant: Variant, baseline: Variant) -> dict[str, tuple[Any, Any]]:
    """Switches in which two variants differ: name → (baseline's value, variant's value)."""
    ours, theirs = variant.switches.model_dump(), baseline.switches.model_dump()
    return {name: (theirs[name], ours[name]) for name in ours if ours[name] != theirs[name]}


def _add(variants: dict[str, Variant], text: str, source: str) -> None:
    try:
        rows = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"The variants file [{source}] is not TOML: {error}.") from error
    for name, raw in rows.items():
        where = f"variant [{name}] in [{source}]"
        if name in variants:
            raise ScenarioError(f"The {where} exists already. Give it another name.")
        row = _validate(_Row, raw, where)
        switches: dict[str, Any] = {}
        if row.base is not None:
            if row.base not in variants:
                raise UnknownNameError(f"base of {where}", row.base, variants)
            switches = variants[row.base].switches.model_dump()
        for switch in row.switches:
            if switch not in Switches.model_fields:
                raise UnknownNameError(f"switch of {where}", switch, Switches.model_fields)
        merged = _validate(Switches, switches | row.switches, where)
        variants[name] = Variant(name, row.title, row.stands_for, merged)


def _validate(model: type[M], raw: Any, where: str) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ScenarioError(f"The {where} is not valid. {explain(error)}") from error
