"""Text and parameters of one statement."""

from __future__ import annotations

from typing import Any

from .observing import Statement
from .schema import Field, Model


def quoted(name: str) -> str:
    """A name as Postgres wants it."""
    return '"' + name.replace('"', '""') + '"'


def words(*parts: str) -> str:
    """The parts of a statement, one blank between them; empty ones are left out."""
    return " ".join(part for part in parts if part)


class Parameters:
    """Collects the values of a statement and hands out their placeholders."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any) -> str:
        """The placeholder for a value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add_for(self, field: Field, value: Any, *, many: bool = False) -> str:
        """The placeholder for a value of a field; `many` for an array of such values.

        An enum is sent as text: asyncpg would otherwise query the catalogue for the type, with a
        statement of its own.
        """
        placeholder = self.add(value)
        if field.kind == "enum":
            brackets = "[]" if many or field.is_list else ""
            return f"{placeholder}::text{brackets}::{quoted(field.type)}{brackets}"
        return placeholder


class Query:
    """A statement with its values, ready to be sent."""

    __slots__ = ("statement", "values")

    def __init__(self, model: Model, action: str, sql: str, parameters: Parameters) -> None:
        self.statement = Statement(model.table, action, sql)
        self.values = parameters.values


def column_of(where: str, field: Field) -> str:
    """A column, qualified by the table's quoted name or alias."""
    return f"{where}.{quoted(field.column)}"


def column_list(model: Model) -> str:
    """All columns of a model, in the order of `Model.columns`."""
    return ", ".join(_shown(field) for field in model.columns)


def _shown(field: Field) -> str:
    name = quoted(field.column)
    if field.kind == "enum":
        return f"{name}::text[] AS {name}" if field.is_list else f"{name}::text AS {name}"
    return name
