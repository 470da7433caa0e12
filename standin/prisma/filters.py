"""``where`` as SQL.

The rules are those of Prisma's engine: `None` asks for NULL, ``not`` a value leaves NULL out,
``NOT`` of several holds if none of them does, and ``contains`` does not escape ``%`` and ``_``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .complaints import Call
from .fields import Json
from .schema import Field, Model, Schema
from .statements import Parameters, column_of, quoted, words
from .values import POSTGRES_TYPES, encode, encode_list

_ALIASES = MappingProxyType(
    {
        "startswith": "startsWith",
        "endswith": "endsWith",
        "not_in": "notIn",
        "has_every": "hasEvery",
        "has_some": "hasSome",
        "is_empty": "isEmpty",
        "is_not": "isNot",
    }
)
_COMPARISONS = MappingProxyType({"lt": "<", "lte": "<=", "gt": ">", "gte": ">="})
_LIKES = MappingProxyType(
    {"contains": "%{}%", "startsWith": "{}%", "endsWith": "%{}"},
)
_IN_JSON = MappingProxyType(
    {"string_contains": "%{}%", "string_starts_with": "{}%", "string_ends_with": "%{}"}
)
ALWAYS = "TRUE"
NEVER = "FALSE"


@dataclass
class Filters:
    """Compiles the conditions of one statement.

    Attributes:
        schema: Holds the models that relations lead to.
        call: For refusals.
        parameters: Of the statement.
    """

    schema: Schema
    call: Call
    parameters: Parameters
    _aliases: int = 0

    def clause(self, model: Model, where: Mapping[str, Any] | None) -> str:
        """``WHERE ...`` for a statement on the model's own table; empty without conditions."""
        condition = self.condition(model, where or {}, quoted(model.table), "where")
        return "" if condition == ALWAYS else f"WHERE {condition}"

    def condition(self, model: Model, where: Mapping[str, Any], table: str, path: str) -> str:
        """All of `where` as one condition.

        Args:
            model: The model whose fields `where` names.
            where: The conditions, all of which must hold.
            table: Quoted name or alias of the model's table.
            path: Position in the call, for refusals.
        """
        if not isinstance(where, Mapping):
            raise self.call.wrong(path, "an object", where)
        parts = []
        for name, value in where.items():
            here = f"{path}.{name}"
            if name in {"AND", "OR", "NOT"}:
                parts.append(self._combined(name, model, value, table, here))
            elif name in model.fields:
                parts.append(self._field(model, model.fields[name], value, table, here))
            elif name in model.uniques:
                parts.append(self._compound(model, name, value, table, here))
            else:
                raise self.call.unknown(here)
        return _all([part for part in parts if part != ALWAYS])

    def _combined(self, name: str, model: Model, value: Any, table: str, path: str) -> str:
        several = [value] if isinstance(value, Mapping) else value
        if not isinstance(several, Sequence) or isinstance(several, str):
            raise self.call.wrong(path, "an object or a list of objects", value)
        parts = [self.condition(model, one, table, path) for one in several]
        if name == "OR":
            return "(" + " OR ".join(parts) + ")" if parts else NEVER
        if name == "NOT":
            parts = [f"(NOT {part})" for part in parts]
        return _all(parts)

    def _compound(self, model: Model, key: str, value: Any, table: str, path: str) -> str:
        names = model.uniques[key]
        if not isinstance(value, Mapping) or set(value) != set(names):
            raise self.call.wrong(path, f"an object with [{', '.join(names)}]", value)
        return _all(
            [
                self._field(model, model.fields[one], value[one], table, f"{path}.{one}")
                for one in names
            ]
        )

    def _field(self, model: Model, field: Field, value: Any, table: str, path: str) -> str:
        if field.is_relation:
            return self._relation(model, field, value, table, path)
        column = column_of(table, field)
        if isinstance(value, Mapping):
            operators = {_ALIASES.get(name, name): one for name, one in value.items()}
            if field.type == "Json" and "path" in operators:
                return self._in_json(field, operators, column, path)
            return self._operators(field, operators, column, path)
        if field.is_list:
            return self._list_operator(field, "equals", value, column, path)
        return self._equals(field, value, column, path)

    def _operators(self, field: Field, operators: Mapping[str, Any], column: str, path: str) -> str:
        mode = operators.get("mode", "default")
        if mode not in {"default", "insensitive"} or (mode != "default" and field.type != "String"):
            raise self.call.unsupported(f"{path}.mode={mode}")
        parts = []
        for name, value in operators.items():
            here = f"{path}.{name}"
            if name == "mode":
                continue
            if field.is_list:
                parts.append(self._list_operator(field, name, value, column, here))
            else:
                parts.append(self._operator(field, name, value, column, here, mode != "default"))
        return _all(parts)

    def _operator(
        self, field: Field, name: str, value: Any, column: str, path: str, insensitive: bool
    ) -> str:
        if name == "equals":
            return self._equals(field, value, column, path, insensitive=insensitive)
        if name == "not":
            return self._not(field, value, column, path, insensitive=insensitive)
        if name in {"in", "notIn"} and not insensitive:
            return self._member(field, name, value, column, path)
        if name in _COMPARISONS and not insensitive:
            if value is None:
                raise self.call.missing(path)
            return f"{column} {_COMPARISONS[name]} {self._bound(field, value, path)}"
        if name in _LIKES and field.type == "String":
            pattern = _LIKES[name].format(encode(field, value, self.call, path))
            like = "ILIKE" if insensitive else "LIKE"
            return f"{column}::text {like} {self.parameters.add(pattern)}"
        raise self.call.unsupported(path)

    def _equals(
        self, field: Field, value: Any, column: str, path: str, *, insensitive: bool = False
    ) -> str:
        if value is None:
            return f"{column} IS NULL"
        return f"{column} {'ILIKE' if insensitive else '='} {self._bound(field, value, path)}"

    def _not(self, field: Field, value: Any, column: str, path: str, *, insensitive: bool) -> str:
        if value is None:
            return f"{column} IS NOT NULL"
        if isinstance(value, Mapping):
            operators = {_ALIASES.get(name, name): one for name, one in value.items()}
            return f"(NOT {self._operators(field, operators, column, path)})"
        # The JSON value null: Prisma has no other way to ask for it.
        if isinstance(value, Json) and value.data is None:
            return f"{column} <> 'null'::jsonb"
        return f"{column} {'NOT ILIKE' if insensitive else '<>'} {self._bound(field, value, path)}"

    def _member(self, field: Field, name: str, value: Any, column: str, path: str) -> str:
        values = encode_list(field, value, self.call, path)
        if not values:
            return NEVER if name == "in" else ALWAYS
        bound = self.parameters.add_for(field, values, many=True)
        return f"{column} = ANY({bound})" if name == "in" else f"{column} <> ALL({bound})"

    def _list_operator(self, field: Field, name: str, value: Any, column: str, path: str) -> str:
        if name == "equals" and value is None:
            return f"{column} IS NULL"
        if name == "isEmpty":
            if not isinstance(value, bool):
                raise self.call.wrong(path, "Boolean", value)
            return f"{column} {'=' if value else '<>'} '{{}}'"
        operators = {"equals": "=", "has": "@>", "hasEvery": "@>", "hasSome": "&&"}
        if name not in operators:
            raise self.call.unsupported(path)
        items = [value] if name == "has" else value
        values = encode_list(field, items, self.call, path)
        bound = self.parameters.add_for(field, values, many=True)
        kind = "" if field.kind == "enum" else f"::{POSTGRES_TYPES[field.type]}[]"
        return f"{column} {operators[name]} {bound}{kind}"

    def _in_json(self, field: Field, operators: Mapping[str, Any], column: str, path: str) -> str:
        """``{"path": [...], operator: value}``: conditions on what lies below a path."""
        keys = operators["path"]
        if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
            raise self.call.wrong(f"{path}.path", "a list of strings", keys)
        steps = self.parameters.add(list(keys))
        below = f"({column} #> {steps}::text[])"
        text = f"({column} #>> {steps}::text[])"
        parts = []
        for name, value in operators.items():
            here = f"{path}.{name}"
            if name in {"equals", "not"}:
                sign = "=" if name == "equals" else "<>"
                parts.append(f"{below} {sign} {self._bound(field, value, here)}::jsonb")
            elif name in _IN_JSON:
                if not isinstance(value, str):
                    raise self.call.wrong(here, "String", value)
                pattern = self.parameters.add(_IN_JSON[name].format(value))
                parts.append(f"(jsonb_typeof({below}) = 'string' AND {text} LIKE {pattern})")
            elif name == "array_contains":
                bound = self._bound(field, value, here)
                parts.append(f"(jsonb_typeof({below}) = 'array' AND {below} @> {bound}::jsonb)")
            elif name != "path":
                raise self.call.unsupported(here)
        if not parts:
            raise self.call.unsupported(f"{path}.path")
        return _all(parts)

    def _bound(self, field: Field, value: Any, path: str) -> str:
        return self.parameters.add_for(field, encode(field, value, self.call, path))

    def _relation(self, model: Model, field: Field, value: Any, table: str, path: str) -> str:
        if field.join is None:
            raise self.call.unsupported(path)
        if value is None and field.join.owner:
            return _all(
                [f"{column_of(table, model.fields[one])} IS NULL" for one in field.join.here]
            )
        if not isinstance(value, Mapping):
            raise self.call.unsupported(path)
        parts = []
        for name, inner in value.items():
            operator = _ALIASES.get(name, name)
            if operator not in (_MANY if field.is_list else _ONE):
                raise self.call.unsupported(f"{path}.{name}")
            make = (_MANY if field.is_list else _ONE)[operator]
            parts.append(
                make(self._exists(model, field, inner or {}, table, f"{path}.{name}", operator))
            )
        return _all(parts)

    def _exists(
        self,
        model: Model,
        field: Field,
        inner: Mapping[str, Any],
        table: str,
        path: str,
        operator: str,
    ) -> str:
        assert field.join is not None
        other = self.schema.models[field.join.target]
        self._aliases += 1
        alias = quoted(f"t{self._aliases}")
        joined = [
            f"{column_of(alias, other.fields[there])} = {column_of(table, model.fields[here])}"
            for here, there in zip(field.join.here, field.join.there, strict=True)
        ]
        condition = self.condition(other, inner, alias, path)
        if operator == "every":
            condition = f"(NOT {condition})"
        source = words("FROM", quoted(other.table), "AS", alias)
        return f"EXISTS ({words('SELECT 1', source, 'WHERE', _all([*joined, condition]))})"


def _yes(exists: str) -> str:
    return exists


def _no(exists: str) -> str:
    return f"(NOT {exists})"


_Wrap = Callable[[str], str]
_MANY: Mapping[str, _Wrap] = MappingProxyType({"some": _yes, "none": _no, "every": _no})
_ONE: Mapping[str, _Wrap] = MappingProxyType({"is": _yes, "isNot": _no})


def _all(parts: Sequence[str]) -> str:
    if not parts:
        return ALWAYS
    return parts[0] if len(parts) == 1 else "(" + " AND ".join(parts) + ")"


def unique_fields(model: Model, where: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """The fields of the first unique key that `where` gives in full, with their values.

    Raises:
        MissingRequiredValueError: There is none, or one of its values is None.
    """
    for key, names in model.uniques.items():
        if key not in where:
            continue
        value = where[key]
        given = value if isinstance(value, Mapping) and len(names) > 1 else {key: value}
        if any(given.get(name) is None for name in names):
            raise call.missing(f"where.{key}")
        return {name: given[name] for name in names}
    raise call.missing("where." + "|".join(model.uniques))
