"""What one replica of the reference proxy is told, as JSON in one environment variable."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from harness.authcache.switches import Switches

SETTINGS_VARIABLE = "AUTHCACHE_PROXY_SETTINGS"


class ProxySettings(BaseModel):
    """Settings of a replica. Times in seconds unless the name says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: str
    version: str
    switches: Switches
    dsn: str
    redis_url: str | None = None
    redis_namespace: str = ""
    replica: int = 0
    ttl_s: float = Field(gt=0)
    time_scale: float = Field(1.0, gt=0)
    planted_null_user: bool = False
    mock_latency_ms: float = 0.0
    mock_completion_tokens: int = 20
    cost_micro: int = 250
    served_header: bool = True
    spend_tracking: bool = True
    metrics: bool = True
    models: tuple[str, ...] = ("mock-model",)
    """What ``GET /v1/models`` lists beside the models that a key may call."""
    spend_flush_s: float = 0.2
    redis_timeout_s: float = 0.25
    body_limit_bytes: int = 1_048_576
    pool_size: int = 6
