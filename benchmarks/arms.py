"""The arms of the request benchmark: each is one server with one tier that answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.floor import FloorTarget
from harness.authcache.variants import load_variants, override
from harness.domain.population import MOCK_MODEL
from harness.stack.base import FleetSpec
from harness.targets.base import Target
from harness.targets.reference.mock_model import MockModel, parse_chat
from harness.targets.reference.target import ReferenceTarget
from harness.targets.settings import RunSettings

FLOOR = "floor"
CONNECTIONS = 16
BODY = f'{{"model": "{MOCK_MODEL}", "messages": [{{"role": "user", "content": "ping"}}]}}'
TTL_S = 86_400.0
"""Longer than any benchmark: what is cached stays cached."""
TOKENS = 20


@dataclass(frozen=True, slots=True)
class MeasuredServer:
    """One server to measure.

    ``tier`` is what answers the lookups of every request, and is checked against the server's
    own counters: ``memory``, ``redis``, ``postgres`` (memory and Redis miss, and are written), or
    empty for the floor, which looks nothing up.
    """

    name: str
    title: str
    tier: str
    requests: int
    """In one shot."""
    variant: str = "recommended"
    overrides: Mapping[str, str] = field(default_factory=dict)
    spend: bool = False
    metrics: bool = True
    shots: int = 3
    """In each round; more for the figures of bars."""

    @property
    def cold(self) -> bool:
        """Whether every request needs a key that was not used before."""
        return self.tier == "postgres"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Requests of one shot, by the tier that answers."""

    memory: int
    redis: int
    postgres: int


FULL = Sizes(memory=4_800, redis=2_400, postgres=1_200)
QUICK = Sizes(memory=64, redis=64, postgres=64)

_NO_MEMORY = {"memory_entries": "0"}


def arms(sizes: Sizes) -> list[MeasuredServer]:
    """All arms, in the order of the odd rounds."""
    memory, redis, postgres = sizes.memory, sizes.redis, sizes.postgres
    old = "litellm_1_84"
    return [
        MeasuredServer(FLOOR, "raw ASGI handler", "", memory, variant="", shots=5),
        MeasuredServer("memory", "memory answers", "memory", memory, shots=5),
        MeasuredServer(
            "memory_uncounted", "memory, no metrics", "memory", memory, metrics=False, shots=5
        ),
        MeasuredServer("redis", "Redis answers", "redis", redis, overrides=_NO_MEMORY, shots=5),
        MeasuredServer("postgres", "Postgres answers", "postgres", postgres, shots=5),
        MeasuredServer("memory_spend", "memory, spend on", "memory", memory, spend=True),
        MeasuredServer(
            "redis_spend", "Redis, spend on", "redis", redis, overrides=_NO_MEMORY, spend=True
        ),
        MeasuredServer("postgres_spend", "Postgres, spend on", "postgres", postgres, spend=True),
        MeasuredServer("litellm_1_84", "1.84, memory answers", "memory", redis, variant=old),
        MeasuredServer(
            "litellm_1_84_spend", "1.84, spend on", "memory", redis, variant=old, spend=True
        ),
    ]


def settings(arm: MeasuredServer) -> RunSettings:
    """No premise, no mock latency, no served header; everything else from the arm."""
    return RunSettings(
        ttl_s=TTL_S,
        mock_completion_tokens=TOKENS,
        served_header=False,
        spend_tracking=arm.spend,
        metrics=arm.metrics,
    )


async def floor_target() -> FloorTarget:
    """The floor with the reply that the mock model gives to the load."""
    model = MockModel(0.0, TOKENS)
    return FloorTarget(await model.reply(parse_chat(BODY.encode())))


async def fleet_spec(arm: MeasuredServer) -> FleetSpec:
    """One replica with one worker."""
    target: Target
    if arm.variant:
        variant = override(load_variants()[arm.variant], arm.overrides)
        target = ReferenceTarget(variant)
    else:
        target = await floor_target()
    return FleetSpec(arm.name, target, replicas=1, workers=1, settings=settings(arm))
