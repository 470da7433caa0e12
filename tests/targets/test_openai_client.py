"""The real `openai` client against a replica that runs as a process of its own."""

from __future__ import annotations

import pytest

from harness.domain.served import COST_HEADER
from harness.process.loopback import local_http
from harness.stack.base import Fleet
from tests.targets.chat import HELLO, Make, chat
from tests.targets.world import MODEL, one_key

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WORDS = 20
"""What `RunSettings` says a reply is long."""


async def test_a_completion(fleet: Fleet, client: Make) -> None:
    key = await one_key(fleet.dsn, "member")

    raw = await client(key.secret).chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO
    )

    reply = raw.parse()
    assert reply.model == MODEL
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].message.role == "assistant"
    assert len((reply.choices[0].message.content or "").split()) == WORDS
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 5
    assert reply.usage.completion_tokens == WORDS
    assert reply.usage.total_tokens == WORDS + 5
    assert raw.headers[COST_HEADER] == "0.000250"


async def test_a_stream_says_the_same(fleet: Fleet, client: Make) -> None:
    key = await one_key(fleet.dsn, "team")
    whole = (await chat(client(key.secret))).choices[0].message.content

    events = [event async for event in await chat(client(key.secret), stream=True)]

    assert "".join(event.choices[0].delta.content or "" for event in events) == whole
    assert len(events) == WORDS + 1
    assert len({event.id for event in events}) == 1
    assert events[0].choices[0].delta.role == "assistant"
    assert [event.choices[0].finish_reason for event in events] == [None] * WORDS + ["stop"]


async def test_a_stream_ends_with_done(fleet: Fleet) -> None:
    key = await one_key(fleet.dsn, "user")
    async with local_http() as http:
        answer = await http.post(
            f"{fleet.replica_urls[0]}/v1/chat/completions",
            headers={"authorization": f"Bearer {key.secret}"},
            json={"model": MODEL, "messages": HELLO, "stream": True},
        )

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    assert all(line.startswith("data: ") for line in answer.text.splitlines() if line)


async def test_models(fleet: Fleet, client: Make) -> None:
    key = await one_key(fleet.dsn, "user")

    names = [model.id async for model in client(key.secret).models.list()]

    assert names == sorted({*key.models, MODEL})
