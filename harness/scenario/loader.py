"""Scenarios by name or by file, with the command line's changes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import ScenarioError, UnknownNameError, UsageError, explain
from harness.scenario.schema import Scenario, WithReleases
from harness.targets.registry import kind_of


@dataclass(frozen=True, slots=True)
class Changes:
    """What the command line sets instead of the scenario; None keeps the scenario's value."""

    replicas: int | None = None
    workers: int | None = None
    variants: tuple[str, ...] | None = None
    time_scale: float | None = None
    rounds: int | None = None
    seed: int | None = None
    premises: bool | None = None
    ttl_s: float | None = None


@cache
def scenario_names() -> Mapping[str, str]:
    """Built-in scenarios: name and title."""
    folder = files("harness.scenario").joinpath("builtin")
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): tomllib.loads(
            folder.joinpath(name).read_text(encoding="utf-8")
        )["title"]
        for name in names
    }


def load_scenario(name_or_path: str, changes: Changes | None = None) -> Scenario:
    """A built-in scenario by name, or a TOML file by path (anything with a slash or ``.toml``).

    Raises:
        UnknownNameError: there is no built-in of that name; suggests the nearest.
        ScenarioError: not TOML, an unknown field, a wrong type, a size that breaks a rule.
        UsageError: the file cannot be read.
    """
    changes = changes or Changes()
    raw = _read(name_or_path)
    raw |= _of_command_line(changes)
    # Validated before anything in it is used: until then any field may be of any type.
    scenario = _validated(raw, name_or_path)
    if changes.premises and not any(scenario.premises.model_dump().values()):
        raise UsageError(
            f"The scenario [{name_or_path}] plants nothing, so its premises cannot be switched on. "
            "Leave PREMISE out."
        )
    if not all(kind_of(name).scales(name) for name in scenario.variants):
        if latency_ms := scenario.premises.source_latency_ms:
            raise UsageError(
                f"The scenario plants a source latency of [{latency_ms:g}] ms, and a LiteLLM "
                "release takes part: its reads cannot be delayed. Leave out the release, or run "
                "with PREMISE=off."
            )
        slower = _with_releases(raw, scenario.with_releases, changes)
        return _validated(slower | _of_command_line(changes), name_or_path)
    return scenario


def _validated(raw: dict[str, Any], name_or_path: str) -> Scenario:
    try:
        return Scenario.model_validate(raw)
    except ValidationError as error:
        raise ScenarioError(
            f"The scenario [{name_or_path}] is not valid. {explain(error)}"
        ) from error


def _of_command_line(changes: Changes) -> dict[str, Any]:
    """The fields that the command line sets instead of the scenario."""
    fields = ("replicas", "workers", "variants", "time_scale", "rounds", "seed", "ttl_s")
    given = {field: getattr(changes, field) for field in fields}
    found: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if changes.rounds is not None:
        # So many were asked for, no fewer and no more.
        found["rounds_max"] = None
    if changes.variants is not None:
        found["variants"] = list(changes.variants)
    if changes.premises is False:
        found["premises"] = {}
    return found


def _with_releases(raw: dict[str, Any], slower: WithReleases, changes: Changes) -> dict[str, Any]:
    """A valid scenario as it is run where a release takes part. Raises UsageError."""
    if changes.time_scale not in (None, 1.0):
        raise UsageError(
            f"TIME_SCALE is [{changes.time_scale:g}], and a LiteLLM release takes part: its "
            "hard-coded times cannot be scaled. Leave out TIME_SCALE or the release."
        )
    table = slower.model_dump(exclude_none=True)
    keys = table.pop("keys")
    # It stays in the table, because it changes no field of the scenario.
    del table["management_ttl"]
    start = {"start_s": table.pop("start_s")} if "start_s" in table else {}
    load = {
        field: table.pop(field)
        for field in ("rate_per_s", "users", "window_ttls")
        if field in table
    }
    return {
        **raw,
        **table,
        "time_scale": 1.0,
        "load": {**raw["load"], **load},
        "population": {**raw["population"], **keys},
        "faults": {**raw.get("faults", {}), **start},
    }


def _read(name_or_path: str) -> dict[str, Any]:
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"The scenario file [{name_or_path}] cannot be read: {error}. Check the path."
            ) from error
    else:
        names = scenario_names()
        if name_or_path not in names:
            raise UnknownNameError(
                "scenario", name_or_path, names, "Name a file of your own by its path."
            )
        builtin = files("harness.scenario").joinpath("builtin", f"{name_or_path}.toml")
        text = builtin.read_text(encoding="utf-8")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Besides tomllib's own error: a number with too many digits, brackets nested too deep.
        raise ScenarioError(
            f"The scenario [{name_or_path}] is not TOML: {error}. Correct the file."
        ) from error
