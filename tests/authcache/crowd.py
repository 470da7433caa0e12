"""Lookups of one object at the same time, and whether the ledger would balance over them."""

from __future__ import annotations

import asyncio

from harness.authcache.cache import Found
from harness.authcache.coalescing import CACHES
from harness.authcache.words import Coalesced, ObjectKind, ReadReason
from tests.authcache.fakes import Source, World, seen, trace

TEAM = ObjectKind.TEAM
COALESCING = sorted(CACHES.keys() - {"none"})


class Crowd:
    """Lookups of one object, under way at the same time."""

    def __init__(self, world: World, source: Source, size: int) -> None:
        self.traces = [trace() for _ in range(size)]
        self.tasks = [
            asyncio.create_task(world.cache.load(TEAM, "t", source, one)) for one in self.traces
        ]

    async def found(self) -> list[Found]:
        answers = await asyncio.gather(*self.tasks)
        return [answer for answer in answers if answer is not None]

    async def errors(self) -> list[BaseException]:
        answers = await asyncio.gather(*self.tasks, return_exceptions=True)
        return [answer for answer in answers if isinstance(answer, BaseException)]

    @property
    def waits(self) -> list[Coalesced]:
        return [wait.stage for one in self.traces for wait in one.waits]

    @property
    def reads(self) -> list[ReadReason]:
        return [read.reason for one in self.traces for read in one.source_reads]

    @property
    def redis_lookups(self) -> int:
        return sum(look.startswith("redis") for one in self.traces for look in seen(one))


def balanced(crowd: Crowd) -> bool:
    """The ledger's equations 2 and 4, for loads that Redis did not answer."""
    before_redis = crowd.waits.count(Coalesced.BEFORE_REDIS)
    missed = len(crowd.traces)
    asked_redis = crowd.redis_lookups in (0, missed - before_redis)
    return asked_redis and len(crowd.reads) == missed - len(crowd.waits)
