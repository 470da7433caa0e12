"""A replica's settings, declared once for every target: JSON in one environment variable.

Standard library only: the environment of a release, and its official image, import this too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

SETTINGS_VARIABLE = "AUTHCACHE_PROXY_SETTINGS"
MASTER_KEY_VARIABLE = "LITELLM_MASTER_KEY"
"""Of a replica's environment: the key of management calls, apart from the other settings."""


def replica_env(settings: ReplicaSettings, master_key: str) -> dict[str, str]:
    """The environment in which a replica finds its settings and its master key, if it has one."""
    given = {SETTINGS_VARIABLE: settings.encode()}
    return given | ({MASTER_KEY_VARIABLE: master_key} if master_key else {})


@dataclass(frozen=True)
class RunSettings:
    """A scenario's settings for every target, already scaled. Times in seconds."""

    ttl_s: float
    time_scale: float = 1.0
    planted_null_user: bool = False
    """The premise: for a team key without a user, an all-NULL user row is looked up."""
    source_latency_ms: float = 0.0
    """The premise: how much longer each read of an object from Postgres takes."""
    mock_latency_ms: float = 0.0
    mock_completion_tokens: int = 20
    management_ttl: bool = False
    """Whether a release's variable for the TTL of keys, users and teams is set to `ttl_s` too."""
    cost_micro: int = 250
    """Cost of one reply in millionths of a US dollar."""
    served_header: bool = True
    spend_tracking: bool = True
    metrics: bool = True


@dataclass(frozen=True, kw_only=True)
class ReplicaSettings(RunSettings):
    """Settings that one replica reads when it starts; each target adds its own fields."""

    variant: str
    version: str
    dsn: str
    redis_url: str | None = None
    redis_namespace: str = ""
    replica: int | None = None
    """Its number in the fleet; None in a container, which does not know it."""

    def encode(self) -> str:
        """The settings as JSON. A Pydantic model among them is written as its fields."""
        return json.dumps(asdict(self), default=dict)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Settings from JSON. Raises ValueError with what is wrong."""
        fields = json.loads(text)
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(
                f"{SETTINGS_VARIABLE} does not hold a replica's settings: {error}"
            ) from error
