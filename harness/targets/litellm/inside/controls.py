"""Positive controls: once in each worker, every point counts one event that is known.

They run when LiteLLM has started, before the first request, and change nothing of the release:
they read absent rows and keys and use objects of their own. What a lookup or a statement counts is
compared within a request of the control's own, which is never counted itself.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from harness.authcache.events import Lookup, SourceRead
from harness.authcache.logs import Signature
from harness.authcache.words import ObjectKind, Op, Outcome, ReadReason, Tier
from harness.domain.series import CODEC_SECONDS, LOGS, PAYLOAD_BYTES, REDIS_GETS, HookPoint
from harness.targets.litellm.inside.lookups import LOOKUP, OpenLookup
from harness.targets.litellm.inside.pending import SpendQueues, Tasks
from harness.targets.litellm.inside.request import Requests

PATIENCE_S = 10.0
"""For one control; the servers may be busy while many replicas start."""
ABSENT = "authcache-control"
ABSENT_TEAM = f"team_id:{ABSENT}"
SAID = (
    "UserApiKeyCache.async_get_cache failed to deserialize: no, this is the control of the "
    "harness, once in each worker; nothing failed"
)
"""Begins as LiteLLM's own message does, which is how records are classified."""


class Controls:
    """The controls of one worker.

    Args:
        requests: their guard keeps what was proved.
        proxy: the module ``litellm.proxy.proxy_server``.
        tasks: pending tasks.
        queues: None where they could not be found.
    """

    def __init__(
        self, requests: Requests, proxy: Any, tasks: Tasks, queues: SpendQueues | None
    ) -> None:
        self._requests = requests
        self._proxy = proxy
        self._tasks = tasks
        self._queues = queues

    async def run(self) -> None:
        """Run the control of each point that was wrapped. One that fails is a reason to doubt."""
        guard = self._requests.guard
        controls: Mapping[HookPoint, Callable[[], Coroutine[Any, Any, None]]] = {
            HookPoint.TASKS: self._task,
            HookPoint.AUTH_CACHE: lambda: self._lookup(self._proxy.user_api_key_cache),
            HookPoint.INTERNAL_USAGE_CACHE: lambda: self._lookup(
                self._proxy.proxy_logging_obj.internal_usage_cache.dual_cache
            ),
            HookPoint.REDIS_CACHE: self._redis_lookup,
            HookPoint.CODEC: self._codec,
            HookPoint.REDIS_CLIENT: self._redis_commands,
            HookPoint.STATEMENTS: self._statement,
            HookPoint.LOG_RECORDS: self._log_record,
            HookPoint.SPEND_QUEUES: self._spend,
        }
        for point, control in controls.items():
            if not guard.trusts(point):
                continue
            try:
                async with asyncio.timeout(PATIENCE_S):
                    # A task has a context of its own, and so has its request.
                    await asyncio.create_task(control())
            except Exception as error:  # noqa: BLE001 - a release may fail in any way
                guard.doubt(point, f"its control failed: {type(error).__name__}: {error}"[:200])
        # What a control made them count is not an event under load.
        guard.seen.clear()

    async def _task(self) -> None:
        request, before, go = self._requests.begin(), self._tasks.unfinished(), asyncio.Event()
        task = asyncio.create_task(go.wait())
        request.end()
        during = self._tasks.unfinished()
        go.set()
        await task
        # The callback that forgets a task runs in the loop's next turn.
        await asyncio.sleep(0)
        _check("pending tasks", (during - before, self._tasks.unfinished() - before), (1, 0))

    async def _lookup(self, cache: Any) -> None:
        request = self._requests.begin()
        await cache.async_get_cache(key=ABSENT_TEAM, local_only=True)
        missed = Lookup(Tier.MEMORY, Op.PEEK, Outcome.MISS, ObjectKind.TEAM)
        _check("lookups", request.trace.lookups, [missed])

    async def _redis_lookup(self) -> None:
        cache = self._proxy.redis_usage_cache
        if cache is None:
            return
        lookup = OpenLookup(ObjectKind.TEAM, Op.PEEK)
        LOOKUP.set(lookup)
        await cache.async_get_cache(ABSENT_TEAM)
        _check("values found, errors", (lookup.redis, lookup.backend_error), (False, False))

    async def _redis_commands(self) -> None:
        before = self._count(REDIS_GETS)
        cache = self._proxy.redis_usage_cache
        if cache is not None:
            await cache.async_get_cache(ABSENT_TEAM)
            _check("GETs", self._count(REDIS_GETS) - before, 1)
        before = self._count(f"{PAYLOAD_BYTES}_count")
        # Never executed; and a client connects with its first command only.
        pipeline = importlib.import_module("redis.asyncio.client").Redis().pipeline()
        pipeline.pipeline_execute_command("SETEX", ABSENT_TEAM, 60, b"{}")
        _check("SETs", self._count(f"{PAYLOAD_BYTES}_count") - before, 1)

    async def _codec(self) -> None:
        codec = importlib.import_module(
            "litellm.proxy.common_utils.cache_pydantic_utils"
        ).CacheCodec
        model = importlib.import_module("litellm.proxy._types").LiteLLM_UserTable
        names = [(f"{CODEC_SECONDS}_count", {"op": op}) for op in ("encode", "decode")]
        before = [self._count(name, **labels) for name, labels in names]
        payload = codec.serialize(model(user_id=ABSENT), model_type=model)
        codec.deserialize(payload, model_type=model)
        after = [self._count(name, **labels) for name, labels in names]
        _check("encodes, decodes", [b - a for a, b in zip(before, after, strict=True)], [1, 1])
        lookup = OpenLookup(ObjectKind.USER, Op.PEEK)
        LOOKUP.set(lookup)
        codec.deserialize(ABSENT, model_type=model)
        _check("failures", lookup.failed, True)

    async def _statement(self) -> None:
        request = self._requests.begin()
        users = self._proxy.prisma_client.db.litellm_usertable
        await users.find_unique(where={"user_id": ABSENT})
        read = SourceRead(ObjectKind.USER, ReadReason.DIRECT)
        _check("statements", request.trace.source_reads, [read])

    async def _log_record(self) -> None:
        labels = {"level": "error", "signature": Signature.TYPED_READ_FAILED.value}
        before = self._count(LOGS, **labels)
        logging.getLogger("LiteLLM Proxy").error(SAID)
        _check("records", self._count(LOGS, **labels) - before, 1)

    async def _spend(self) -> None:
        if self._queues is not None:
            self._queues.control()

    def _count(self, name: str, **labels: str) -> float:
        registry = self._requests.metrics.registry.restricted_registry([name])
        return sum(
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def _check(what: str, counted: object, expected: object) -> None:
    if counted != expected:
        raise AssertionError(f"{what}: counted [{counted}], not [{expected}]")
