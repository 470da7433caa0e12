"""Settings that one replica of the reference proxy reads when it starts, checked field by field."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from harness.authcache.switches import Switches
from harness.targets.settings import ReplicaSettings


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ProxySettings(ReplicaSettings):
    """Settings of a replica. Times in seconds unless the name says otherwise."""

    switches: Switches
    ttl_s: float = Field(gt=0)
    time_scale: float = Field(1.0, gt=0)
    models: tuple[str, ...] = ("mock-model",)
    """Models that ``GET /v1/models`` lists besides those that a key may call."""
    spend_flush_s: float = 0.2
    redis_timeout_s: float = 0.25
    body_limit_bytes: int = 1_048_576
    linger_s: float = 2.0
    """How long a refused body is read and discarded before the connection is closed."""
    read_s: float = 2.0
    """For one read of an object, waiting for a connection included, where Postgres is bounded."""
    transaction_s: float = 3.0
    """For one transaction, likewise."""
    last_flush_s: float = 4.0
    """For the last flushes of a worker that is asked to end."""
    pool_closes_s: float = 1.0
    """For connections to end when the worker does: Postgres may be silent."""
    pool_size: int = 6
    mixed: bool = False
    """Whether entries in Redis name the variant that wrote them."""
    master_key: str = Field("", repr=False)
    """Authenticates management calls; from the environment. Without one they are refused."""
