"""The model behind the proxy: OpenAI-shaped replies of a set length, latency and cost."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from harness.targets.reference.problems import BadRequestError

_WORDS = ("cache", "replica", "tier", "payload", "lookup", "window", "scope", "ledger")


class ChatRequest(msgspec.Struct):
    """What of a chat request matters here; other fields are accepted and ignored."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_chat(body: bytes) -> ChatRequest:
    """A chat request. Raises BadRequestError."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"The body is not a chat request: {error}.") from error


class MockModel:
    """Answers chats.

    Args:
        latency_ms: time before the first word.
        completion_tokens: words in a reply; one word counts as one token.
    """

    def __init__(self, latency_ms: float, completion_tokens: int) -> None:
        self._latency_s = latency_ms / 1000
        self._words = list(itertools.islice(itertools.cycle(_WORDS), completion_tokens))
        self._text = " ".join(self._words)
        self._ids = itertools.count(1)

    async def reply(self, chat: ChatRequest) -> bytes:
        """One complete reply as JSON."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        prompt = prompt_tokens(chat)
        return msgspec.json.encode(
            {
                "id": f"chatcmpl-{next(self._ids)}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": chat.model,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": self._text},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": len(self._words),
                    "total_tokens": prompt + len(self._words),
                },
            }
        )

    async def stream(self, chat: ChatRequest) -> AsyncIterator[bytes]:
        """The same reply as server-sent events, one word an event."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        frame: dict[str, Any] = {
            "id": f"chatcmpl-{next(self._ids)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": chat.model,
        }
        for i, word in enumerate(self._words):
            delta = {"content": word if i == 0 else f" {word}"}
            if i == 0:
                delta["role"] = "assistant"
            yield _event(frame | {"choices": [_choice(delta, None)]})
        yield _event(frame | {"choices": [_choice({}, "stop")]})
        yield b"data: [DONE]\n\n"


def prompt_tokens(chat: ChatRequest) -> int:
    """Words in the messages that are plain text."""
    texts = (message.get("content") for message in chat.messages)
    return sum(len(text.split()) for text in texts if isinstance(text, str))


def _choice(delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"
