"""Hypothesis strategies for every cached model, made from the models' own fields."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

from hypothesis import strategies as st

from harness.authcache.objects import CachedObject

M = TypeVar("M", bound=CachedObject)

SAFE_INTS = (-(2**63), 2**64 - 1)
"""What MessagePack can write; JSON can write it too."""
MOST_FIELDS = 6
"""Optional fields that one object is given; more would make it slow, not more telling."""

_text = st.text(max_size=8)
_zones: st.SearchStrategy[tzinfo | None] = st.one_of(
    st.none(),
    st.just(UTC),
    st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
_DAY_TWO = datetime(1, 1, 2, tzinfo=UTC).replace(tzinfo=None)
_LAST_BUT_ONE = datetime(9999, 12, 30, tzinfo=UTC).replace(tzinfo=None)
# A day from either end, so that no offset leads out of the calendar.
_datetimes = st.builds(
    lambda moment, zone: moment.replace(tzinfo=zone), st.datetimes(_DAY_TWO, _LAST_BUT_ONE), _zones
)


def ints(bounds: tuple[int, int] = SAFE_INTS) -> st.SearchStrategy[int]:
    return st.integers(*bounds)


def json_values(text: st.SearchStrategy[str] = _text) -> st.SearchStrategy[Any]:
    """What ``dict[str, Any]`` holds after JSON: no NaN, which is not equal to itself."""
    leaf = st.none() | st.booleans() | ints() | st.floats(allow_nan=False) | text
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=5,
    )


_LEAVES: Mapping[Any, st.SearchStrategy[Any]] = {
    types.NoneType: st.none(),
    str: _text,
    int: ints(),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    datetime: _datetimes,
    Any: json_values(),
}


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type; a type that no model has yet is an error."""
    origin, options = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return st.one_of([values(option) for option in sorted(options, key=_simplest_first)])
    if origin is list:
        return st.lists(values(options[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(options[0]), values(options[1]), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, CachedObject):
        return objects(annotation)
    return _LEAVES[annotation]


def _simplest_first(option: Any) -> bool:
    return option is not types.NoneType


@cache
def _by_field(model: type[CachedObject]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: values(field.annotation) for name, field in model.model_fields.items()}


@st.composite
def objects(
    draw: st.DrawFn, model: type[M], given: Mapping[str, st.SearchStrategy[Any]] | None = None
) -> M:
    """Objects that the model admits: it validates them.

    Args:
        draw: Hypothesis'.
        model: which.
        given: strategies for some fields, which every object then has.
    """
    of = {**_by_field(model), **(given or {})}
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    chosen = {*required, *(given or {})}
    optional = [name for name in of if name not in chosen]
    more = draw(st.lists(st.sampled_from(optional), unique=True, max_size=MOST_FIELDS))
    return model(**{name: draw(of[name]) for name in of if name in {*chosen, *more}})


def told(value: CachedObject) -> dict[str, Any]:
    """The fields in which an object differs from one that only has what is required."""
    fields = type(value).model_fields
    return {
        name: getattr(value, name)
        for name, field in fields.items()
        if field.is_required()
        or not same(getattr(value, name), field.get_default(call_default_factory=True))
    }


def lost(before: CachedObject, after: CachedObject) -> dict[str, tuple[Any, Any]]:
    """Fields that are not what they were: name to what was written and what was read."""
    fields = type(before).model_fields
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in fields}
    return {name: pair for name, pair in pairs.items() if not same(*pair)}


def same(one: Any, other: Any) -> bool:
    """Equal in value and kind; datetimes by their instant and by whether they have an offset."""
    if isinstance(one, CachedObject) and isinstance(other, CachedObject):
        return type(one).model_fields == type(other).model_fields and not lost(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, datetime):
        return _instant(one) == _instant(other)
    return bool(one == other)


def _instant(moment: datetime) -> tuple[timedelta, bool]:
    # Without datetime.astimezone: that fails at the ends of the calendar.
    offset = moment.utcoffset()
    since = moment.replace(tzinfo=None) - _DAY_TWO
    return since - (offset or timedelta()), offset is None
