"""The questions of one request, and what it was served with."""

from __future__ import annotations

import time
from types import CoroutineType
from typing import Any, TypeAlias

import msgspec

from harness.authcache.cache import AuthCache, Found, ReadSource, SourceUnavailableError
from harness.authcache.digest import digest
from harness.authcache.objects import limit_fields
from harness.authcache.trace import Trace
from harness.authcache.words import ObjectKind, ReadReason
from harness.served import Served
from harness.targets.reference.problems import UnavailableError

Waiting = CoroutineType
Answer: TypeAlias = "Found | CoroutineType[Any, Any, Found | None] | None"
"""What a question gives: the answer, or what must be awaited for it.

Memory answers most questions at once; to make a coroutine for each would cost more than to answer.
"""


class Asked(msgspec.Struct, eq=False):
    """The objects that one request has asked for."""

    cache: AuthCache
    trace: Trace
    """Collects the lookups."""
    served: list[Served] | None
    """Collects what was served, None where nobody wants to know."""
    once: bool
    """Whether a second question for an object is answered from here and never reaches the cache;
    if not, every question is a lookup, as upstream."""
    known: dict[ObjectKind, Found | None] = {}

    def load(self, kind: ObjectKind, cache_key: str, read: ReadSource) -> Answer:
        """An object, from wherever it is. Raises UnavailableError when awaited."""
        if self.once and kind in self.known:
            return self.known[kind]
        found = self.cache.load_at_once(kind, cache_key, read, self.trace)
        if not isinstance(found, Found):
            return self._load_beyond(kind, cache_key, found, read)  # type: ignore[return-value]  # it is what an async def gives
        self.known[kind] = found
        if self.served is not None:
            self.serve(kind, found)
        return found

    async def _load_beyond(
        self, kind: ObjectKind, cache_key: str, reason: ReadReason, read: ReadSource
    ) -> Found | None:
        try:
            found = await self.cache.load_beyond(kind, cache_key, reason, read, self.trace)
        except SourceUnavailableError as error:
            raise UnavailableError(
                f"The database does not answer and the {kind} is not cached. Try again later."
            ) from error
        self.known[kind] = found
        self.serve(kind, found)
        return found

    def knows(self, kind: ObjectKind) -> bool:
        """Whether a further question for this object would be answered from here."""
        return self.once and kind in self.known

    def serve(self, kind: ObjectKind, found: Found | None) -> None:
        """Note what the request was served with, for the response header."""
        if self.served is None:
            return
        if found is None or found.value is None:
            tier = "source" if found is None else str(found.tier)
            self.served.append(Served(kind.value, tier, digest(kind, None), None))
            return
        age_ms = max(0, round((time.time() - found.read_at) * 1000))
        fingerprint = digest(kind, limit_fields(found.value))
        self.served.append(Served(kind.value, str(found.tier), fingerprint, age_ms))
