"""How a change of an object reaches the caches that hold copies of it.

The worker that takes a change (the handler) calls `Invalidation.changed` after its COMMIT.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.authcache.cache import AuthCache
from harness.authcache.words import ObjectKind

Changed = tuple[ObjectKind, str]
"""An object and one of its cache keys, by the layout."""


class Invalidation:
    """Evicts nothing: every copy is served until it expires. Base of the other mechanisms.

    A worker makes one, opens it before its first request, and closes it after its last.
    """

    def __init__(self, cache: AuthCache) -> None:
        self._cache = cache

    async def open(self) -> None:
        """Start to listen for changes that other workers take."""

    async def close(self) -> None:
        """Stop to listen."""

    async def changed(self, objects: Iterable[Changed]) -> None:
        """Say that rows have changed, were made or are gone; returns when the handler has done so.

        Call it after COMMIT: whatever reads Postgres from then on reads the new row. A Redis that
        does not answer is no error of the caller: copies then live until they expire.

        Args:
            objects: the cache keys of all copies of each object: a team and its second copy, a
                membership and its member entry.
        """

    async def deleted(self, objects: Iterable[Changed]) -> None:
        """Say that rows are gone. Copies of a deleted row are evicted as those of a changed one."""
        await self.changed(objects)
