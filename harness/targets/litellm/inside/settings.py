"""What one replica of a LiteLLM release is told, as JSON in one environment variable."""

from __future__ import annotations

import msgspec

SETTINGS_VARIABLE = "AUTHCACHE_PROXY_SETTINGS"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a replica. Times in seconds unless the name says otherwise."""

    variant: str
    version: str
    dsn: str
    ttl_s: float
    redis_url: str | None = None
    redis_namespace: str = ""
    replica: int = 0
    mock_latency_ms: float = 0.0
    mock_completion_tokens: int = 20
    cost_micro: int = 250
    served_header: bool = True
    model: str = "mock-model"
    real_prisma: bool = False
    """Leave `prisma` to the environment, which then needs Prisma's engine."""


def decode(text: str) -> Settings:
    """Settings from JSON. Raises ValueError with what is wrong."""
    return msgspec.json.decode(text, type=Settings)


def encode(settings: Settings) -> str:
    """Settings as JSON."""
    return msgspec.json.encode(settings).decode()
