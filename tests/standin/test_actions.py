"""What every action takes, and where a call of it fails."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standin.prisma import Prisma, actions
from standin.prisma.errors import ClientNotConnectedError, UnsupportedCallError

SIGNATURES = {
    "find_unique": "where include",
    "find_unique_or_raise": "where include",
    "find_first": "skip where cursor include order distinct",
    "find_first_or_raise": "skip where cursor include order distinct",
    "find_many": "take skip where cursor include order distinct",
    "count": "select take skip where cursor",
    "group_by": "by * where take skip avg sum min max having count order",
    "create": "data include",
    "create_many": "data * skip_duplicates",
    "update": "data where include",
    "update_many": "data where",
    "upsert": "where data include",
    "delete": "where include",
    "delete_many": "where",
    "query_raw": "query *args",
    "query_first": "query *args",
}
"""Of prisma-client-python 0.11, the version that LiteLLM pins; ``*``: what follows goes by name."""
BATCHED = {"create", "create_many", "update", "update_many", "upsert", "delete", "delete_many"}


def taken(function: Callable[..., Any]) -> str:
    """The parameters of a function, as `SIGNATURES` writes them."""
    names = []
    parameters = inspect.signature(function).parameters.values()
    for before, one in zip([None, *parameters], parameters, strict=False):
        starts = one.kind is one.KEYWORD_ONLY and (before is None or before.kind is not one.kind)
        names += ["*"] if starts else []
        names.append(f"*{one.name}" if one.kind is one.VAR_POSITIONAL else one.name)
    return " ".join(names)


def test_every_action_has_the_signature_of_prismas_client() -> None:
    table = Prisma().owner
    assert set(actions.ACTIONS) == set(SIGNATURES)
    assert {name: taken(getattr(table, name)) for name in SIGNATURES} == SIGNATURES
    assert all(getattr(actions.OwnerActions, name).__name__ == name for name in SIGNATURES)


def test_a_batch_has_the_actions_that_write() -> None:
    table = Prisma().batch_().owner
    assert {name for name in SIGNATURES if hasattr(table, name)} == BATCHED
    assert {name: taken(getattr(table, name)) for name in BATCHED} == {
        name: SIGNATURES[name] for name in BATCHED
    }


def test_the_readme_names_every_action() -> None:
    text = (Path(actions.__file__).parent / "README.md").read_text(encoding="utf-8")
    table = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:2] == "| "}
    named = set(re.findall(r"`(\w+)`", table["reads"] + table["writes"] + table["raw"]))
    assert named >= {name for name in SIGNATURES if not name.endswith("_or_raise")}
    assert named <= {*SIGNATURES, "_or_raise", "execute_raw"}


def test_an_argument_too_many_fails_where_the_call_stands() -> None:
    """Before anything is awaited, as with the real client's own functions."""
    client = Prisma()
    with pytest.raises(TypeError, match=r"find_first\(\) got an unexpected keyword .*'select'"):
        client.owner.find_first(where={}, select={"name": True})
    with pytest.raises(TypeError, match=r"update\(\) missing .*'where'"):
        client.batch_().owner.update(data={})


async def test_what_is_not_carried_out_fails_when_awaited_and_in_a_batch_at_once() -> None:
    client = Prisma()
    call = client.owner.find_many(cursor={"owner_id": "x"})
    with pytest.raises(UnsupportedCallError, match=r"owner.find_many\(cursor\)"):
        await call
    wrong: dict[str, Any] = {"create": {}, "update": {}, "more": {}}
    with pytest.raises(UnsupportedCallError, match=r"owner.upsert\(data.more\)"):
        client.batch_().owner.upsert(where={"owner_id": "x"}, data=wrong)
    with pytest.raises(ClientNotConnectedError):
        await client.owner.find_many()


def test_an_action_that_prismas_client_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Actions' object has no attribute 'find_all'"):
        Prisma().owner.find_all()
