"""A Redis that the user gave, shared by all fleets and perhaps by others."""

from __future__ import annotations

from redis.exceptions import RedisError

from harness.errors import SetupError
from harness.stack.databases import safe_name
from harness.stack.dsn import check_url, shown, without_secrets
from harness.stack.redis import connect, server_version

NOT_COUNTED = "the Redis was given by the user: its counters count the commands of all its clients"
_SCAN_COUNT = 1000


class UserRedis:
    """Keeps the fleets of a run apart by the names of their keys."""

    def __init__(self, address: str, token: str) -> None:
        check_url("REDIS_URL", address)
        self.address = address
        self._prefix = f"authcache:{token[:8]}:"

    async def check(self) -> dict[str, str]:
        """Connect once; returns what answered. Raises SetupError."""
        try:
            version = await server_version(self.address)
        except (RedisError, OSError, ValueError) as error:
            text = without_secrets(str(error) or type(error).__name__, self.address)
            raise SetupError(
                f"Redis at [{shown(self.address)}] refuses: {text.rstrip('.')}. "
                "Check REDIS_URL and that the server runs."
            ) from None
        if _too_old(version):
            raise SetupError(
                f"Redis at [{shown(self.address)}] is [{version}]; Redis 7 or later, or Valkey, is "
                "needed: a lookup under a lease sends SET NX GET. Name another in REDIS_URL."
            )
        return {"redis_version": version, "redis_source": "given by the user"}

    def namespace(self, fleet: str) -> str:
        """The prefix of a fleet's keys."""
        return f"{self._prefix}{safe_name(fleet)}:"

    async def forget(self) -> list[str]:
        """Delete this run's keys and no others; returns what could not be deleted."""
        try:
            async with connect(self.address) as client:
                names: list[bytes] = []
                async for name in client.scan_iter(match=f"{self._prefix}*", count=_SCAN_COUNT):
                    names.append(name)
                    if len(names) >= _SCAN_COUNT:
                        await client.unlink(*names)
                        names.clear()
                if names:
                    await client.unlink(*names)
        except (RedisError, OSError) as error:
            text = without_secrets(str(error) or type(error).__name__, self.address)
            return [f"Keys [{self._prefix}*] remain on [{shown(self.address)}]: {text}"]
        return []


def _too_old(version: str) -> bool:
    name, _, number = version.partition(" ")
    major = number.partition(".")[0]
    return name == "redis" and major.isdigit() and int(major) < 7  # noqa: PLR2004 - said above
