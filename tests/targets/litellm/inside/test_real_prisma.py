from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from harness.authcache.words import ObjectKind
from harness.targets.litellm.inside.guard import Guard
from harness.targets.litellm.inside.real_prisma import describe, observe
from harness.targets.schema.statements import classify

GUARD = Guard(CollectorRegistry(), "x")


class LiteLLM_UserTable:  # noqa: N801 - Prisma's model has the table's name
    pass


class Ears:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.failures: list[str] = []

    def sent(self, statement: Any) -> None:
        self.heard.append(statement.sql)

    def failed(self, statement: Any, error: BaseException) -> None:
        self.failures.append(f"{statement.action}: {error}")


def _client() -> type[Any]:
    class Prisma:
        async def _execute(
            self, method: str, arguments: dict[str, Any], model: Any = None, **_: Any
        ) -> str:
            if method == "delete":
                raise ConnectionError("gone")
            return f"{method} {sorted(arguments)} {model}"

    return Prisma


def test_a_find_reads_its_table() -> None:
    call = describe("find_unique", {"where": {"user_id": "u"}}, LiteLLM_UserTable)
    assert classify(call.sql) is ObjectKind.USER
    assert (call.table, call.action) == ("LiteLLM_UserTable", "find_unique")


def test_a_write_reads_nothing() -> None:
    assert classify(describe("update", {"data": {}}, LiteLLM_UserTable).sql) is None


def test_a_raw_query_is_recognised_by_its_text() -> None:
    sql = 'SELECT v.token FROM "LiteLLM_VerificationToken" AS v WHERE v.token = $1'
    assert classify(describe("query_raw", {"query": sql}, None).sql) is ObjectKind.KEY


async def test_calls_pass_through_and_are_heard() -> None:
    prisma, ears = _client(), Ears()
    observe(prisma, ears, GUARD)
    answer = await prisma()._execute(method="find_first", arguments={}, model=LiteLLM_UserTable)
    assert answer.startswith("find_first")
    assert ears.heard == ['SELECT 1 FROM "LiteLLM_UserTable"']
    with pytest.raises(ConnectionError):
        await prisma()._execute("delete", {}, None)
    assert ears.failures == ["delete: gone"]


def test_another_client_is_told_apart() -> None:
    class Other:
        pass

    with pytest.raises(AttributeError):
        observe(Other, Ears(), GUARD)
