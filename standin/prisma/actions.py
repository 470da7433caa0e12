"""The table of actions, which run at once or within a batch.

An action is one function of `reads` or `writes` with the signature of Prisma's client. An argument
that Prisma's client does not take is a `TypeError` here too. That matters: releases up to 1.94 call
``find_first(select=...)`` for rotated keys, which the real client refuses before any statement is
sent, and LiteLLM goes on without it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from . import reads, writes
from .complaints import Call
from .errors import RecordNotFoundError
from .links import Link
from .reads import Operation, Table
from .schema import Model, Schema


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a table.

    Attributes:
        compiled: Takes the `Table` and the caller's arguments.
        batched: Whether a batch has it too.
        none_if_absent: Whether, outside a batch, it returns None where its row does not exist.
    """

    compiled: Callable[..., Operation]
    batched: bool = False
    none_if_absent: bool = False


ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "find_unique": Action(reads.find_unique),
        "find_unique_or_raise": Action(reads.or_raise(reads.find_unique)),
        "find_first": Action(reads.find_first),
        "find_first_or_raise": Action(reads.or_raise(reads.find_first)),
        "find_many": Action(reads.find_many),
        "count": Action(reads.count),
        "group_by": Action(reads.group_by),
        "query_raw": Action(reads.query_raw),
        "query_first": Action(reads.query_first),
        "create": Action(writes.create, batched=True),
        "create_many": Action(writes.create_many, batched=True),
        "update": Action(writes.update, batched=True, none_if_absent=True),
        "update_many": Action(writes.update_many, batched=True),
        "upsert": Action(writes.upsert, batched=True),
        "delete": Action(writes.delete, batched=True, none_if_absent=True),
        "delete_many": Action(writes.delete_many, batched=True),
    }
)


class _OnTable:
    """The actions of one table, as methods.

    Args:
        schema: The model's schema.
        model: The table's model.
    """

    def __init__(self, schema: Schema, model: Model) -> None:
        self._schema = schema
        self._model = model

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """For type checkers: the methods are added below."""
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _carry_out(self, action: Action, compiling: Callable[[], Operation]) -> Any:
        raise NotImplementedError


class Actions(_OnTable):
    """All of `ACTIONS` on one table, each to be awaited.

    Args:
        schema: The model's schema.
        model: The table's model.
        link: Returns the link that runs the statements.
    """

    def __init__(self, schema: Schema, model: Model, link: Callable[[], Link]) -> None:
        super().__init__(schema, model)
        self._link = link

    async def _carry_out(self, action: Action, compiling: Callable[[], Operation]) -> Any:
        operation = compiling()
        try:
            return await operation(self._link())
        except RecordNotFoundError:
            if not action.none_if_absent:
                raise
            return None


class BatchActions(_OnTable):
    """The batched ones of `ACTIONS` on one table.

    Args:
        schema: The model's schema.
        model: The table's model.
        add: Takes an operation to run at the end.
    """

    def __init__(self, schema: Schema, model: Model, add: Callable[[Operation], None]) -> None:
        super().__init__(schema, model)
        self._add = add

    def _carry_out(self, action: Action, compiling: Callable[[], Operation]) -> None:
        del action
        self._add(compiling())


def _method(name: str, action: Action) -> Callable[..., Any]:
    signature = inspect.signature(action.compiled)

    @functools.wraps(action.compiled)
    def method(self: _OnTable, *args: Any, **kwargs: Any) -> Any:
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:
            # At the call, not where it is awaited, as with any function.
            raise TypeError(f"{name}() {error}") from None
        table = Table(self._schema, self._model, Call(self._model.accessor, name))
        compiling = functools.partial(action.compiled, table, *args, **kwargs)
        return self._carry_out(action, compiling)

    method.__name__ = name
    return method


for _name, _action in ACTIONS.items():
    setattr(Actions, _name, _method(_name, _action))
    if _action.batched:
        setattr(BatchActions, _name, _method(_name, _action))


def __getattr__(name: str) -> type[Actions]:
    """``LiteLLM_UserTableActions`` and its like, which releases name in annotations."""
    if name.endswith("Actions"):
        return Actions
    raise AttributeError(name)
