"""Connects to a Redis or Valkey server of any stack, and asks for its version."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_CLIENT_TIMEOUT_S = 10.0


def connect(address: str) -> Redis:
    """A client that fails at once and leaves retries to its caller."""
    return Redis.from_url(
        address,
        socket_timeout=_CLIENT_TIMEOUT_S,
        socket_connect_timeout=_CLIENT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


async def server_version(address: str) -> str:
    """Name and version of a server, as ``valkey 9.1.2``. Raises RedisError or OSError."""
    async with connect(address) as client:
        info = await client.info("server")
    name = info.get("server_name", "redis")
    return f"{name} {info.get(f'{name}_version', info['redis_version'])}"
