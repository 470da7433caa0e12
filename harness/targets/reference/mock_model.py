"""The model behind the proxy: OpenAI-shaped replies of a set length, latency and cost."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

import msgspec

from harness.targets.reference.problems import BadRequestError

_WORDS = ("cache", "replica", "tier", "payload", "lookup", "window", "scope", "ledger")


class ChatRequest(msgspec.Struct):
    """The fields of a chat request that matter here; others are accepted and ignored."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_chat(body: bytes) -> ChatRequest:
    """A chat request. Raises BadRequestError."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # Text that is not UTF-8 raises UnicodeDecodeError, deep nesting RecursionError.
        raise BadRequestError(f"The body is not a chat request: {error}.") from error


class MockModel:
    """Answers chats.

    Args:
        latency_ms: time before the first word.
        completion_tokens: words in a reply; one word counts as one token.
    """

    def __init__(self, latency_ms: float, completion_tokens: int) -> None:
        self.latency_s = latency_ms / 1000
        self._words = list(itertools.islice(itertools.cycle(_WORDS), completion_tokens))
        self._ids = itertools.count(1)
        # Apart from its id and its second, a reply is the same as the one before.
        self._rest = lru_cache(maxsize=256)(self._rest_of)

    async def reply(self, chat: ChatRequest) -> bytes:
        """One complete reply as JSON, after the latency."""
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        return self.compose(chat)

    def compose(self, chat: ChatRequest) -> bytes:
        """One complete reply as JSON, at once."""
        rest = self._rest(chat.model, prompt_tokens(chat))
        return f'{{"id":"chatcmpl-{next(self._ids)}","created":{int(time.time())},{rest}'.encode()

    def _rest_of(self, model: str, prompt: int) -> str:
        words = len(self._words)
        message = {"role": "assistant", "content": " ".join(self._words)}
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": words,
            "total_tokens": prompt + words,
        }
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        fields = {
            "object": "chat.completion",
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
        return msgspec.json.encode(fields)[1:].decode()

    async def stream(self, chat: ChatRequest) -> AsyncIterator[bytes]:
        """The same reply as server-sent events, one word per event."""
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
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
    words = 0
    for message in chat.messages:
        text = message.get("content")
        if isinstance(text, str):
            words += len(text.split())
    return words


def _choice(delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"
