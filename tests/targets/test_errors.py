"""Every error in OpenAI's shape, and as the real `openai` client understands it."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from harness.domain.population import VirtualKey
from harness.process.loopback import local_http
from harness.stack.base import Fleet
from tests.targets.chat import HELLO, Call, Make, chat
from tests.targets.world import MODEL, execute, one_key

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_KEY = 'UPDATE "LiteLLM_VerificationToken" SET {} WHERE token = $1'
_USER = 'UPDATE "LiteLLM_UserTable" SET {} WHERE user_id = $1'
_TEAM = 'UPDATE "LiteLLM_TeamTable" SET {} WHERE team_id = $1'
_MEMBER = 'UPDATE "LiteLLM_TeamMembership" SET {} WHERE user_id = $1 AND team_id = $2'
_BUDGET = 'UPDATE "LiteLLM_BudgetTable" SET {} WHERE budget_id = $1'


def models(one: openai.AsyncOpenAI) -> Any:
    return one.models.list()


async def refusal(one: openai.AsyncOpenAI, call: Call = chat) -> openai.APIStatusError:
    """What the client raises, whose body is in OpenAI's shape."""
    with pytest.raises(openai.APIStatusError) as caught:
        await call(one)
    error = caught.value.response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert caught.value.response.headers["content-type"] == "application/json"
    return caught.value


@pytest.mark.parametrize(
    ("call", "error", "code", "words"),
    [
        (
            lambda one: chat(one, messages="no list"),
            openai.BadRequestError,
            "bad_request",
            r"not a chat request: Expected `array`",
        ),
        (
            lambda one: chat(one, model=None),
            openai.BadRequestError,
            "bad_request",
            r"Expected `str`, got `null`",
        ),
        (
            lambda one: one.post("/chat/completions", body={"model": MODEL}, cast_to=object),
            openai.BadRequestError,
            "bad_request",
            r"missing required field `messages`",
        ),
        (
            lambda one: chat(one, messages=[{"role": "user", "content": "x" * 1_100_000}]),
            openai.APIStatusError,
            "request_too_large",
            r"larger than \[1048576\] bytes",
        ),
        (
            lambda one: chat(one, model="gpt-x"),
            openai.PermissionDeniedError,
            "model_not_allowed",
            r"The key may not call the model \[gpt-x\]\. Allowed: mock-model, ",
        ),
        (
            lambda one: one.embeddings.create(model=MODEL, input="x"),
            openai.NotFoundError,
            "not_found",
            r"no route \[/v1/embeddings\]",
        ),
        (
            lambda one: one.get("/chat/completions", cast_to=object),
            openai.APIStatusError,
            "method_not_allowed",
            r"does not take \[GET\]",
        ),
    ],
    ids=["wrong type", "null", "missing field", "too large", "model", "route", "method"],
)
async def test_a_request_that_cannot_be_served(
    fleet: Fleet,
    client: Make,
    call: Call,
    error: type[openai.APIStatusError],
    code: str,
    words: str,
) -> None:
    key = await one_key(fleet.dsn, "member")

    refused = await refusal(client(key.secret), call)

    assert type(refused) is error
    assert refused.code == code
    assert re.search(words, refused.message)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b'{"model": "\xff"}'),
        b'{"model": "mock-model", "messages": [{"content": ' + b"[" * 10_000,
    ],
    ids=["none", "cut", "list", "null", "no UTF-8", "nested without end"],
)
async def test_a_body_that_no_client_sends(fleet: Fleet, content: bytes) -> None:
    key = await one_key(fleet.dsn, "user")
    async with local_http() as http:
        answer = await http.post(
            f"{fleet.replica_urls[0]}/v1/chat/completions",
            headers={"authorization": f"Bearer {key.secret}"},
            content=content,
        )

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_KEY.format("blocked = true"), "key is blocked"),
        (_KEY.format("expires = '2001-02-03'"), r"expired at 2001-02-03T00:00:00\+00:00"),
        (_TEAM.format("blocked = true"), "team of this key is blocked"),
        ('DELETE FROM "LiteLLM_VerificationToken" WHERE token = $1', "key is not known"),
    ],
    ids=["blocked", "expired", "blocked team", "unknown"],
)
async def test_a_key_that_opens_no_door(
    fleet: Fleet, client: Make, change: str, words: str
) -> None:
    key = await one_key(fleet.dsn, "team")
    await changed(fleet, key, change)

    # As often as it is asked: from Postgres, from memory.
    for _ in range(2):
        refused = await refusal(client(key.secret))

        assert type(refused) is openai.AuthenticationError
        assert refused.code == "invalid_api_key"
        assert re.search(words, refused.message)
        if "TeamTable" not in change:
            assert type(await refusal(client(key.secret), models)) is openai.AuthenticationError


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic sk-x"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer x"},
    ],
    ids=["none", "another scheme", "empty", "no sk-"],
)
async def test_no_key_at_all(fleet: Fleet, headers: dict[str, str]) -> None:
    async with local_http() as http:
        answer = await http.post(
            f"{fleet.replica_urls[0]}/v1/chat/completions",
            headers=headers,
            json={"model": MODEL, "messages": HELLO},
        )

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert "sk-" in answer.json()["error"]["message"]


@pytest.mark.parametrize("owner", ["key", "user", "team"])
async def test_a_model_that_is_not_allowed(fleet: Fleet, client: Make, owner: str) -> None:
    key = await one_key(fleet.dsn, "member")
    statement = {"key": _KEY, "user": _USER, "team": _TEAM}[owner]
    await changed(fleet, key, statement.format("models = '{another}'"))

    refused = await refusal(client(key.secret))

    assert type(refused) is openai.PermissionDeniedError
    assert refused.message.find(f"The {owner} may not call the model [{MODEL}]") >= 0
    assert (refused.code, refused.param) == ("model_not_allowed", "model")


@pytest.mark.parametrize(
    ("change", "owner"),
    [
        (_KEY.format("spend = 2, max_budget = 2"), "Key"),
        (_USER.format("spend = 2, max_budget = 1"), "User"),
        (_TEAM.format("spend = 2, max_budget = 1"), "Team"),
        (_MEMBER.format("spend = 5000000"), "Team member"),
        (_BUDGET.format("max_budget = 0"), "Team member"),
    ],
    ids=["key", "user", "team", "member", "nothing allowed"],
)
async def test_a_budget_that_is_used_up(
    fleet: Fleet, client: Make, change: str, owner: str
) -> None:
    key = await one_key(fleet.dsn, "member")
    await chat(client((await one_key(fleet.dsn, "member")).secret))  # another's is not
    await changed(fleet, key, change)

    for _ in range(2):
        refused = await refusal(client(key.secret))

        assert type(refused) is openai.RateLimitError
        assert (refused.code, refused.type) == ("budget_exceeded", "budget_exceeded")
        assert re.search(rf"{owner} budget exceeded: spent [\d.]+ of [\d.]+ US", refused.message)


async def changed(fleet: Fleet, key: VirtualKey, statement: str) -> None:
    ids: list[str | None] = [key.token]
    for table, of_table in (
        ("UserTable", [key.user_id]),
        ("TeamTable", [key.team_id]),
        ("TeamMembership", [key.user_id, key.team_id]),
        ("BudgetTable", [key.budget_id]),
    ):
        if table in statement:
            ids = of_table
    await execute(fleet.dsn, statement, *ids)
