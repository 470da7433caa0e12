from __future__ import annotations

from typing import Any

import httpx

from benchmarks.arms import BODY, floor_target
from benchmarks.floor import REPLY_VARIABLE, make_app
from harness.domain.served import COST_HEADER
from harness.stack.base import FleetSpec
from harness.targets.base import ReplicaContext
from harness.targets.settings import RunSettings


async def test_the_floor_gives_the_reply_of_the_mock_model() -> None:
    target = await floor_target()
    context = ReplicaContext("floor", 0, 1, 3, (4,), "", None, "", RunSettings(ttl_s=1.0))
    reply = target.process(context).env[REPLY_VARIABLE].encode()
    transport: Any = httpx.ASGITransport(make_app(reply))

    async with httpx.AsyncClient(transport=transport, base_url="http://floor") as client:
        answer = await client.post("/v1/chat/completions", content=BODY)

    assert answer.json()["choices"][0]["message"]["content"].startswith("cache replica")
    assert answer.headers[COST_HEADER] == "0.000250"
    assert FleetSpec("floor", target, 1, 1, RunSettings(ttl_s=1.0)).target is target
