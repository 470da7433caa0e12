"""One class for the rows of each model, made from the schema; ``prisma.models.LiteLLM_UserTable``.

As with Prisma's client a row is a pydantic model with all fields of the schema; relations are None
unless they were included.
"""

from __future__ import annotations

import datetime as dt
import decimal
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from .fields import Base64
from .locating import current_schema
from .schema import Field, Model, Schema

_PYTHON_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "String": str,
        "Int": int,
        "BigInt": int,
        "Float": float,
        "Boolean": bool,
        "DateTime": dt.datetime,
        "Json": object,
        "Bytes": Base64,
        "Decimal": decimal.Decimal,
    }
)


class PrismaModel(BaseModel):
    """Base of all rows."""

    # Columns such as model_id would otherwise be warned about at every start.
    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())


class RowClasses:
    """The classes of one schema, each made when it is first asked for."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._made: dict[str, type[PrismaModel]] = {}

    def of(self, model: Model) -> type[PrismaModel]:
        """The class of a model's rows."""
        if model.name not in self._made:
            fields: dict[str, Any] = {
                name: _annotation(field) for name, field in model.fields.items()
            }
            with warnings.catch_warnings():
                # A column may be called like a method of pydantic's; Prisma's client has it too.
                warnings.simplefilter("ignore")
                made = create_model(model.name, __base__=PrismaModel, __module__=__name__, **fields)
            self._made[model.name] = made
        return self._made[model.name]

    def row(self, model: Model, record: Any) -> PrismaModel:
        """A row from a record that has the columns of `Model.columns` in their order.

        Nothing is validated: Postgres keeps the types. A NULL list is the empty list, as Prisma's
        engine gives it.
        """
        values = dict(zip((field.name for field in model.columns), record, strict=True))
        for field in model.columns:
            if field.is_list and values[field.name] is None:
                values[field.name] = []
            elif field.type == "Bytes" and isinstance(values[field.name], bytes):
                values[field.name] = Base64.encode(values[field.name])
        return self.of(model).model_construct(**values)


def _annotation(field: Field) -> tuple[Any, Any]:
    if field.is_relation:
        return (list[Any] | None if field.is_list else Any, None)
    kind = _PYTHON_TYPES.get(field.type, str)
    if field.is_list:
        return (list[kind], ...)  # type: ignore[valid-type]  # made at run time
    return (kind | None, None) if field.is_optional else (kind, ...)


_classes: list[RowClasses] = []


def row_classes(schema: Schema) -> RowClasses:
    """The classes of a schema; the same ones as long as the schema is the same."""
    if not _classes or _classes[0].schema is not schema:
        _classes[:] = [RowClasses(schema)]
    return _classes[0]


def __getattr__(name: str) -> type[PrismaModel]:
    """``prisma.models.NAME`` for every model of the schema."""
    if name.startswith("__"):
        raise AttributeError(name)
    schema = current_schema()
    if name not in schema.models:
        raise AttributeError(f"the schema has no model [{name}]")
    return row_classes(schema).of(schema.models[name])
