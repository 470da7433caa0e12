"""Changes by SQL on a real Postgres: what the truth becomes is what the action says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import asyncpg
import pytest

from harness.domain.changes import ACTIONS
from harness.domain.population import MOCK_MODEL, VirtualKey, make_changes
from harness.stack.base import Fleet
from harness.targets.base import KeyTruth
from harness.targets.reference.target import ReferenceTarget
from harness.targets.schema.management import WAYS
from tests.targets.world import check_effect, new_seed

pytestmark = pytest.mark.integration

DATABASE = ReferenceTarget.database
PAIRS = [(name, scope) for name, action in ACTIONS.items() for scope in action.scopes]


@pytest.fixture
async def postgres(recommended: Fleet) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(recommended.dsn)
    yield connection
    await connection.close()


async def truths(postgres: asyncpg.Connection, keys: list[VirtualKey]) -> dict[int, KeyTruth]:
    return await DATABASE.truth(postgres, keys, planted_null_user=False)


@pytest.mark.parametrize(("action", "scope"), PAIRS)
async def test_an_edit_has_its_effect_and_no_other(
    postgres: asyncpg.Connection, action: str, scope: str
) -> None:
    # The same action three times: two are carried out, with two numbers.
    keys = make_changes([(action, scope)] * 3, first=0, seed=new_seed(), model=MOCK_MODEL)
    await DATABASE.seed(postgres, keys)
    before = await truths(postgres, keys)
    for number, key in enumerate(keys[:2], 1):
        assert await DATABASE.edit(postgres, action, key, number)
    after = await truths(postgres, keys)
    for index in (0, 1):
        check_effect(action, before[index], after[index])
    assert after[2] == before[2], "a key that was not edited"


@pytest.mark.parametrize(
    "action", [name for name in ACTIONS if name.endswith(("-limits", "-models", "-new", "-raised"))]
)
async def test_two_changes_of_one_object_make_two_versions(
    postgres: asyncpg.Connection, action: str
) -> None:
    scope, kind = ACTIONS[action].scopes[-1], ACTIONS[action].object
    (key,) = make_changes([(action, scope)], first=0, seed=new_seed(), model=MOCK_MODEL)
    await DATABASE.seed(postgres, [key])
    seen = set()
    for number in (1, 2):
        if action == "key-new":
            await DATABASE.edit(postgres, "key-delete", key, number)
        await DATABASE.edit(postgres, action, key, number)
        seen.add((await truths(postgres, [key]))[key.index].digests[kind])
    assert len(seen) == 2


async def test_an_edit_that_fails_half_way_changes_nothing(
    postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = make_changes([("key-block", "user")], first=0, seed=new_seed(), model=MOCK_MODEL)
    await DATABASE.seed(postgres, [key])
    way = WAYS["key-block"]
    broken = replace(way, statements=(*way.statements, "SELECT 1 / 0"))
    monkeypatch.setitem(cast("dict[str, object]", WAYS), "key-block", broken)
    before = await truths(postgres, [key])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await DATABASE.edit(postgres, "key-block", key, 1)
    assert await truths(postgres, [key]) == before
