"""Chats of the real `openai` client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from tests.targets.world import MODEL

Call = Callable[[openai.AsyncOpenAI], Any]
Make = Callable[[str], openai.AsyncOpenAI]
"""Makes a client of a secret."""

HELLO: Any = [{"role": "user", "content": "hello to all of you"}]


def chat(one: openai.AsyncOpenAI, **changes: Any) -> Any:
    return one.chat.completions.create(**{"model": MODEL, "messages": HELLO, **changes})
