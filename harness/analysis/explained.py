"""The register of explained differences between a reference variant and its release."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.analysis.difference import Reading, RoundedFigure
from harness.domain.result import Cell
from harness.errors import ScenarioError, explain
from harness.targets.registry import covers, is_range

REGISTER = "harness/analysis/explained.toml"
"""Path of the register in a checkout, for messages."""
ANY = "any"
CELLS = "cells"
REFUSALS = "refusals"
WORDS = (CELLS, REFUSALS)
"""Measures whose readings are words, not figures."""

MeasureName = Literal[
    "cells",
    "source_reads",
    "log_pairs",
    "statuses",
    "refusals",
    "wrong_values",
    "overshoot",
    "payload_bytes",
]
Scope = Literal["any", "team", "user", "shared_id", "member"]


class Explanation(BaseModel):
    """One difference, or several with the same cause. The fields are those of the register."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Short, because a table column shows it.
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,23}$")]
    releases: str
    measure: MeasureName
    scope: Scope = "any"
    part: str = ANY
    release_has: Literal["more", "less"] | None = None
    twin: str | None = None
    release: str | None = None
    cause: Annotated[str, Field(min_length=1)]

    @field_validator("releases")
    @classmethod
    def _names_releases(cls, text: str) -> str:
        if not is_range(text):
            raise ValueError("releases are written as litellm==1.94.0 or litellm>=1.84,<1.91")
        return text

    @model_validator(mode="after")
    def _has_a_direction(self) -> Explanation:
        words = (self.twin, self.release)
        if self.measure in WORDS and (None in words or self.release_has is not None):
            raise ValueError(f"{self.measure} need twin and release, and no release_has")
        if self.measure == CELLS and not {*words} <= {*get_args(Cell)}:
            raise ValueError(f"twin and release must be cells: {', '.join(get_args(Cell))}")
        if self.measure not in WORDS and (any(words) or self.release_has is None):
            raise ValueError("a figure needs release_has, and neither twin nor release")
        return self

    def applies_to(self, release: str) -> bool:
        """Whether it covers a release."""
        return covers(self.releases, release)

    def is_about(self, measure: str, scope: str, part: str) -> bool:
        """Whether it covers this figure, whatever its value."""
        return self.measure == measure and self.scope in (ANY, scope) and self.part in (ANY, part)

    def covers(self, measure: str, scope: str, part: str, twin: Reading, release: Reading) -> bool:
        """Whether it explains this difference of a release that it covers."""
        if not self.is_about(measure, scope, part):
            return False
        if self.measure in WORDS:
            return (twin, release) == (self.twin, self.release)
        return self.release_has == ("more" if _size(release) > _size(twin) else "less")


def known_explanations() -> Mapping[str, Explanation]:
    """The register, by name. Raises ScenarioError if an entry is not valid."""
    return _builtin()


def load_register(text: str, source: str | Path) -> dict[str, Explanation]:
    """Read a register. Raises ScenarioError."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(
            f"The explained differences [{source}] are not TOML: {error}."
        ) from error
    register = {}
    for name, table in tables.items():
        try:
            body = table if isinstance(table, dict) else {}
            register[name] = Explanation.model_validate(body | {"name": name})
        except ValidationError as error:
            raise ScenarioError(
                f"The explained difference [{name}] in [{source}] is not valid. {explain(error)}"
            ) from error
    return register


@cache
def _builtin() -> dict[str, Explanation]:
    text = files("harness.analysis").joinpath("explained.toml").read_text(encoding="utf-8")
    return load_register(text, REGISTER)


def _size(reading: Reading) -> float:
    return reading.value if isinstance(reading, RoundedFigure) else 0.0
