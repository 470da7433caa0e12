"""What one replica of a LiteLLM release is told, as JSON in one environment variable.

The standard library does: the official image of a release has no package of ours.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

SETTINGS_VARIABLE = "AUTHCACHE_PROXY_SETTINGS"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a replica. Times in seconds unless the name says otherwise."""

    variant: str
    version: str
    dsn: str
    ttl_s: float
    redis_url: str | None = None
    redis_namespace: str = ""
    replica: int = 0
    mock_latency_ms: float = 0.0
    cost_micro: int = 250
    served_header: bool = True
    model: str = "mock-model"
    real_prisma: bool = False
    """Leave `prisma` to the environment, which then needs Prisma's engine."""


def decode(text: str) -> Settings:
    """Settings from JSON. Raises ValueError with what is wrong."""
    fields = json.loads(text)
    try:
        return Settings(**fields)
    except TypeError as error:
        raise ValueError(
            f"{SETTINGS_VARIABLE} does not hold a replica's settings: {error}"
        ) from error


def encode(settings: Settings) -> str:
    """Settings as JSON."""
    return json.dumps(asdict(settings))
