from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.targets.reference.mock_model import ChatRequest, MockModel, parse_chat, prompt_tokens
from harness.targets.reference.problems import (
    ApiError,
    AuthError,
    BadRequestError,
    BudgetExceededError,
    MethodError,
    ModelNotAllowedError,
    NotFoundError,
    NotMasterError,
    UnavailableError,
)

STATUSES: dict[type[ApiError], int] = {
    BadRequestError: 400,
    AuthError: 401,
    ModelNotAllowedError: 403,
    NotMasterError: 403,
    NotFoundError: 404,
    MethodError: 405,
    BudgetExceededError: 429,
    UnavailableError: 503,
}

_text = st.text(max_size=5)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=4,
)
_messages = st.lists(st.dictionaries(_text, _json, max_size=3), max_size=3)
_chats = st.fixed_dictionaries(
    {"model": _text, "messages": _messages},
    optional={"stream": st.booleans(), "temperature": _json},
)


@given(chat=_chats)
def test_what_openais_clients_send_is_understood(chat: dict[str, object]) -> None:
    parsed = parse_chat(json.dumps(chat).encode())

    assert parsed.model == chat["model"]
    assert parsed.messages == chat["messages"]
    assert parsed.stream is chat.get("stream", False)


@given(body=st.binary() | _json.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_a_bad_request(body: bytes) -> None:
    try:
        parsed = parse_chat(body)
    except BadRequestError:
        return
    assert isinstance(parsed, ChatRequest)


@given(model=st.text(), words=st.integers(0, 30))
async def test_a_reply_and_its_stream_say_the_same(model: str, words: int) -> None:
    mock, chat = MockModel(0.0, words), ChatRequest(model, [{"content": "two words"}])

    reply = json.loads(await mock.reply(chat))
    events = [event async for event in mock.stream(chat)]

    assert events.pop() == b"data: [DONE]\n\n"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert streamed == reply["choices"][0]["message"]["content"]
    assert len(streamed.split()) == words
    assert reply["model"] == model
    assert {chunk["model"] for chunk in chunks} == {model}
    assert reply["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": words,
        "total_tokens": words + 2,
    }


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        ([], 0),
        ([{"content": "one two"}, {"content": " three\n"}], 3),
        ([{"content": None}, {"role": "user"}, {"content": [{"type": "text", "text": "x"}]}], 0),
    ],
)
def test_a_word_is_a_token(messages: list[dict[str, object]], tokens: int) -> None:
    assert prompt_tokens(ChatRequest("m", messages)) == tokens


@pytest.mark.parametrize("error", STATUSES)
def test_errors_have_openais_shape(error: type[ApiError]) -> None:
    body = json.loads(error('said "so"').body())

    assert error.status == STATUSES[error]
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"] == 'said "so"'


def test_every_error_is_in_the_table() -> None:
    assert set(ApiError.__subclasses__()) == STATUSES.keys()
