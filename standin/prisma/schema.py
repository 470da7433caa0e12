"""The contents of a schema: models, fields, keys and relations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

SCALARS = frozenset(
    {"String", "Int", "BigInt", "Float", "Boolean", "DateTime", "Json", "Bytes", "Decimal"}
)

Kind = Literal["scalar", "enum", "relation"]


@dataclass(frozen=True, slots=True)
class Function:
    """A default that is a call, such as ``uuid()``, ``now()`` or ``autoincrement()``."""

    name: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Default:
    """A default: a `Function`, or the value itself (JSON defaults as their text)."""

    value: Any


@dataclass(frozen=True, slots=True)
class Join:
    """The fields that a relation joins.

    Attributes:
        target: Name of the other model.
        here: Fields of this model.
        there: Fields of the other model, in the same order.
        owner: Whether this model holds the foreign key.
    """

    target: str
    here: tuple[str, ...]
    there: tuple[str, ...]
    owner: bool


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model.

    Attributes:
        name: As the client calls it.
        column: As Postgres calls it.
        type: A Prisma scalar, the name of an enum, or the name of a model.
        native: The database type given with ``@db.``, without the prefix.
        join: For relations that were resolved.
    """

    name: str
    column: str
    type: str
    kind: Kind
    is_list: bool = False
    is_optional: bool = False
    default: Default | None = None
    is_updated_at: bool = False
    native: str | None = None
    join: Join | None = None

    @property
    def is_relation(self) -> bool:
        """Whether the field is no column but another model."""
        return self.kind == "relation"


@dataclass(frozen=True)
class Model:
    """One model, a table in Postgres.

    Attributes:
        table: Its name in Postgres.
        fields: By name, in the order of the schema.
        id: Names of the fields of the primary key.
        uniques: Every key that identifies one row, by the client's name for it: the
            field, or the fields of a compound key joined by ``_``.
    """

    name: str
    table: str
    fields: Mapping[str, Field]
    id: tuple[str, ...]
    uniques: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def accessor(self) -> str:
        """The attribute of the client that leads to the table."""
        return self.name.lower()

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """The fields that are columns, in the order of the schema."""
        return tuple(one for one in self.fields.values() if not one.is_relation)

    @cached_property
    def relations(self) -> Mapping[str, Field]:
        """The fields that are relations, by name."""
        return {name: one for name, one in self.fields.items() if one.is_relation}


@dataclass(frozen=True)
class Schema:
    """All models and enums of one release."""

    models: Mapping[str, Model]
    enums: Mapping[str, tuple[str, ...]]

    @cached_property
    def by_accessor(self) -> Mapping[str, Model]:
        """The models by the name of the client's attribute."""
        return {model.accessor: model for model in self.models.values()}
