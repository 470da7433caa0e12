"""The lookups of one request, and the objects that it was served with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from harness.authcache.cache import AuthCache, Found, ReadSource, SourceUnavailableError
from harness.authcache.digest import digest
from harness.authcache.objects import CachedObject, limit_fields
from harness.authcache.trace import Trace
from harness.authcache.words import SOURCE, ObjectKind, Op, ReadReason
from harness.domain.served import Served
from harness.targets.reference.problems import UnavailableError

ABSENT = Found(None, 0.0, SOURCE)
"""The answer if Postgres has no such object, or the key names none."""
_LOAD = Op.LOAD
LOOKUPS_S = 3.0
"""For how long one request waits beyond memory in all, with ``source_outage = bounded``."""


class RequestLookups(msgspec.Struct, eq=False):
    """The objects that one request has looked up.

    Memory answers most lookups, and a coroutine for each of them costs more than the answer. So a
    lookup has two halves: ``found = asked.load(…) or await asked.beyond()``.
    """

    cache: AuthCache
    trace: Trace
    """Collects the lookups."""
    served: list[Served] | None
    """Collects what was served; None leaves it out."""
    rest: Awaitable[Found] | None = None
    """The rest of the last lookup, if `load` gave no answer."""
    membership: Found | None = None
    """For a path that looks it up once, though it has two cache keys."""
    until: float | None = None
    """By the clock of the loop, when the request stops to wait; None before it waits at all."""

    def load(
        self,
        kind: ObjectKind,
        cache_key: str,
        read: Callable[..., Awaitable[CachedObject | None]],
        *ids: str,
    ) -> Found | None:
        """An object from memory; None if `beyond` has the answer.

        Args:
            kind: the object's kind.
            cache_key: its key in the tiers.
            read: reads it from Postgres, given ``ids``.
            ids: its ids in Postgres.
        """
        found = self.cache.ask_memory(kind, cache_key, _LOAD, self.trace)
        if not isinstance(found, Found):
            self.rest = self._load_beyond(kind, cache_key, found, partial(read, *ids))
            return None
        if self.cache.refreshes_early:
            self.cache.refresh_early(kind, cache_key, partial(read, *ids), self.trace)
        if self.served is not None:
            self.serve(kind, found)
        return found

    def beyond(self) -> Awaitable[Found]:
        """The rest of the last lookup. Raises UnavailableError when awaited."""
        assert self.rest is not None, "`load` has answered already"
        return self.rest

    async def _load_beyond(
        self, kind: ObjectKind, cache_key: str, reason: ReadReason, read: ReadSource
    ) -> Found:
        if self.until is None and self.cache.switches.source_outage == "bounded":
            self.until = asyncio.get_running_loop().time() + LOOKUPS_S
        try:
            async with asyncio.timeout_at(self.until):
                found = await self.cache.load_beyond(kind, cache_key, reason, read, self.trace)
        except (SourceUnavailableError, TimeoutError) as error:
            raise UnavailableError(
                f"The database does not answer and the {kind} is not cached. Try again later."
            ) from error
        found = found or ABSENT
        self.serve(kind, found)
        return found

    def serve(self, kind: ObjectKind, found: Found) -> None:
        """Record what the request was served with, for the response header."""
        if self.served is None:
            return
        if found.value is None:
            self.served.append(Served(kind.value, str(found.tier), digest(kind, None), None))
            return
        age_ms = max(0, round((time.time() - found.read_at) * 1000))
        fingerprint = digest(kind, limit_fields(found.value))
        self.served.append(Served(kind.value, str(found.tier), fingerprint, age_ms))
