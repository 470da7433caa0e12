"""Interprets the text of a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .parsing import Attribute, Block, CallValue, Line, Name, parse
from .schema import SCALARS, Default, Field, Function, Join, Kind, Model, Schema


@dataclass(frozen=True, slots=True)
class _Relation:
    """What ``@relation`` says, before both sides are known."""

    name: str | None
    here: tuple[str, ...]
    there: tuple[str, ...]


def read_schema(text: str) -> Schema:
    """The schema that a ``schema.prisma`` describes.

    A relation without a foreign key on either side (implicit many-to-many) stays unresolved: its
    field has no join, and using it is refused.

    Raises:
        SchemaSyntaxError: The text is no Prisma schema.
    """
    blocks = parse(text)
    enums = {
        block.name: tuple(line.name for line in block.lines if line.name)
        for block in blocks
        if block.keyword == "enum"
    }
    kept = [block for block in blocks if block.keyword in {"model", "view"}]
    names = {block.name for block in kept}
    relations: dict[tuple[str, str], _Relation] = {}
    models = {}
    for block in kept:
        fields = {}
        for line in block.lines:
            if line.name and line.type in names | enums.keys() | SCALARS:
                fields[line.name] = _field(line, names, enums)
                if fields[line.name].is_relation:
                    relations[block.name, line.name] = _relation(line)
        models[block.name] = _model(block, fields)
    return Schema(
        {name: _joined(model, models, relations) for name, model in models.items()}, enums
    )


def _field(line: Line, models: set[str], enums: Mapping[str, Any]) -> Field:
    kind: Kind = "scalar"
    if line.type in models:
        kind = "relation"
    elif line.type in enums:
        kind = "enum"
    marks = {one.name: one for one in line.attributes}
    native = next((one.name[3:] for one in line.attributes if one.name.startswith("db.")), None)
    return Field(
        name=line.name,
        column=_mapped(line.attributes, line.name),
        type=line.type,
        kind=kind,
        is_list="[]" in line.suffix,
        is_optional="?" in line.suffix,
        default=_default(marks["default"]) if "default" in marks else None,
        is_updated_at="updatedAt" in marks,
        native=native,
    )


def _mapped(attributes: Sequence[Attribute], otherwise: str) -> str:
    for one in attributes:
        if one.name == "map":
            return str(one.get("name", first=True))
    return otherwise


def _default(attribute: Attribute) -> Default:
    value = attribute.get("value", first=True)
    if isinstance(value, CallValue):
        return Default(Function(value.name, tuple(item for _, item in value.arguments)))
    if isinstance(value, tuple):
        return Default([item.text if isinstance(item, Name) else item for item in value])
    return Default(value.text if isinstance(value, Name) else value)


def _relation(line: Line) -> _Relation:
    for one in line.attributes:
        if one.name == "relation":
            return _Relation(
                one.get("name", first=True),
                _names(one.get("fields")),
                _names(one.get("references")),
            )
    return _Relation(None, (), ())


def _names(value: Any) -> tuple[str, ...]:
    # ``created_at(sort: Desc)`` names a field too.
    return tuple(one.name if isinstance(one, CallValue) else one.text for one in value or ())


def _model(block: Block, fields: Mapping[str, Field]) -> Model:
    identity: tuple[str, ...] = ()
    uniques: dict[str, tuple[str, ...]] = {}
    for line in block.lines:
        marks = {one.name for one in line.attributes}
        if line.name and marks & {"id", "unique"}:
            uniques[line.name] = (line.name,)
            identity = (line.name,) if "id" in marks else identity
    table = block.name
    for attribute in (one for line in block.lines if not line.name for one in line.attributes):
        if attribute.name in {"id", "unique"}:
            names = _names(attribute.get("fields", first=True))
            uniques[attribute.get("name") or "_".join(names)] = names
            identity = names if attribute.name == "id" else identity
        elif attribute.name == "map":
            table = str(attribute.get("name", first=True))
    return Model(block.name, table, fields, identity, uniques)


def _joined(
    model: Model, models: Mapping[str, Model], relations: Mapping[tuple[str, str], _Relation]
) -> Model:
    fields = {}
    for name, field in model.fields.items():
        join = _join(model, field, models, relations) if field.is_relation else None
        fields[name] = replace(field, join=join)
    return replace(model, fields=fields)


def _join(
    model: Model,
    field: Field,
    models: Mapping[str, Model],
    relations: Mapping[tuple[str, str], _Relation],
) -> Join | None:
    own = relations[model.name, field.name]
    if own.here:
        return Join(field.type, own.here, own.there, owner=True)
    for name, other in models[field.type].relations.items():
        theirs = relations[field.type, name]
        if other.type == model.name and theirs.name == own.name and theirs.here:
            return Join(field.type, theirs.there, theirs.here, owner=False)
    return None
