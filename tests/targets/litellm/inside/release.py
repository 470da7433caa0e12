"""A release of a few lines: the modules that the instrumentation looks up, with what it wraps."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness.observe.counters import Counters
from harness.targets.litellm.inside.instrument import Instruments
from harness.targets.litellm.inside.serve import Wrapped
from harness.targets.litellm.inside.settings import Settings
from tests.targets.litellm.inside.caches import (
    Cache,
    Client,
    Codec,
    LiteLLM_UserTable,
    Pipeline,
    Redis,
    UserAPIKeyAuth,
)

TOKEN = "ab" * 32
USER = "00000000-0000-4000-8000-000000000001"
METRICS_PORT = 2


class Statement:
    sql = 'SELECT * FROM "LiteLLM_UserTable" WHERE user_id = $1'


class Release:
    """One process of it. Its request asks the caches for a key and a user, and books spend."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class OwnClient(Client):
            def pipeline(self) -> Any:
                return OwnPipeline()

        class OwnPipeline(Pipeline):
            pass

        class OwnCodec(Codec):
            pass

        class SendingRedis(Redis):
            client = OwnClient()

            async def async_get_cache(self, key: str, **_: Any) -> Any:
                await self.client.execute_command("GET", key)
                return self.values.get(key)

        self.codec = OwnCodec
        self.redis = SendingRedis()
        self.spend: asyncio.Queue[int] = asyncio.Queue()
        self.observers: list[Any] = []
        self.reads = 0
        self.log = logging.getLogger("LiteLLM Proxy")
        self.tasks: list[asyncio.Task[None]] = []
        writer = SimpleNamespace(spend_update_queue=SimpleNamespace(update_queue=self.spend))
        users = SimpleNamespace(find_unique=self.find_unique)

        def module(name: str, **members: Any) -> Any:
            made = ModuleType(name)
            vars(made).update(members)
            monkeypatch.setitem(sys.modules, name, made)
            return made

        # What the release itself looks up in its modules is what was wrapped.
        self.proxy = module(
            "litellm.proxy.proxy_server",
            app=self.app,
            user_api_key_cache=Cache(self.redis, OwnCodec),
            proxy_logging_obj=SimpleNamespace(
                internal_usage_cache=SimpleNamespace(dual_cache=Cache(self.redis)),
                db_spend_update_writer=writer,
            ),
            prisma_client=SimpleNamespace(db=SimpleNamespace(litellm_usertable=users)),
            redis_usage_cache=self.redis,
            db_writer_client=None,
            update_spend=self.update_spend,
        )
        self.auth = module(
            "litellm.proxy.auth.auth_checks",
            get_key_object=self.get_key_object,
            get_user_object=self.get_user_object,
            get_team_object=self.get_user_object,
            get_team_membership=self.get_user_object,
        )
        module("litellm.proxy.common_utils.cache_pydantic_utils", CacheCodec=OwnCodec)
        module("litellm.proxy._types", LiteLLM_UserTable=LiteLLM_UserTable)
        worker = SimpleNamespace(_queue=None)
        module("litellm.litellm_core_utils.logging_worker", GLOBAL_LOGGING_WORKER=worker)
        module("prisma.observing", set_observer=self.observers.append)
        module("redis.asyncio.client", Redis=OwnClient, Pipeline=OwnPipeline)

    async def find_unique(self, **_: Any) -> LiteLLM_UserTable:
        self.reads += 1
        for observer in self.observers:
            observer.sent(Statement)
        return LiteLLM_UserTable(USER, 2.0)

    async def get_key_object(self) -> Any:
        return await self.proxy.user_api_key_cache.async_get_cache(TOKEN, model_type=UserAPIKeyAuth)

    async def get_user_object(self) -> Any:
        cache = self.proxy.user_api_key_cache
        found = await cache.async_get_cache(USER, model_type=LiteLLM_UserTable)
        if found is None:
            self.log.error("UserApiKeyCache.async_get_cache failed to deserialize")
            found = await self.find_unique()
            await cache.async_set_cache(USER, self.codec.serialize(found))
            await self.redis.client.execute_command("SET", USER, "{}")
        return found

    async def update_spend(self, *_: Any) -> None:
        while not self.spend.empty():
            self.spend.get_nowait()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        del receive
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        await self.proxy.proxy_logging_obj.internal_usage_cache.dual_cache.async_get_cache(
            f"team_id:{USER}"
        )
        key = await self.auth.get_key_object()
        user = await self.auth.get_user_object()
        self.tasks.append(asyncio.create_task(self.spend.put(1)))
        headers = [(b"key", key.token.encode()), (b"user", str(vars(user)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


class Worker:
    """A worker that runs the release under instrumentation, and what it was asked."""

    def __init__(self, release: Release) -> None:
        release.proxy.user_api_key_cache.in_memory_cache.values[TOKEN] = {
            "token": TOKEN,
            "user_id": USER,
            "team_id": None,
        }
        # A team under the user's id, as up to 1.90: it does not decode.
        release.proxy.user_api_key_cache.in_memory_cache.values[USER] = {"team_id": USER}
        self.release = release

    async def start(self) -> None:
        settings = Settings(variant="x", version="1.84.0rc1", dsn="", ttl_s=5.0)
        self.instruments = Instruments(settings)
        app = self.instruments.wrap(stand_in=True)
        self.app = Wrapped(app, self.instruments, METRICS_PORT, "0.0", tells_served=True)
        await self._ask("lifespan", 1)

    async def chat(self) -> list[Any]:
        """The messages of one reply, without the header of the harness."""
        sent = await self._ask("http", 1)
        await asyncio.gather(*self.release.tasks)
        for message in sent:
            ours = [pair for pair in message.get("headers", ()) if pair[0].startswith(b"x-")]
            for pair in ours:
                message["headers"].remove(pair)
        return sent

    async def page(self, query: str = "") -> Counters:
        body = (await self._ask("http", METRICS_PORT, query))[-1]["body"]
        return Counters.parse(body.decode())

    async def points(self) -> dict[str, str]:
        """Why points are not instrumented, by point."""
        pages = await self.page()
        found = {dict(labels)["point"]: (value, dict(labels)["reason"]) for (name, labels), value in
                 pages.items() if name == "authcache_instrumented"}  # fmt: skip
        assert len(found) == 10, found
        assert all(bool(value) != bool(reason) for value, reason in found.values()), found
        return {point: reason for point, (value, reason) in found.items() if not value}

    async def errors(self) -> dict[tuple[str, ...], float]:
        return (await self.page()).by("authcache_instrument_errors_total", "point")

    async def _ask(self, kind: str, port: int, query: str = "") -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {}

        scope = {
            "type": kind,
            "path": "/v1/chat/completions",
            "server": ("127.0.0.1", port),
            "query_string": query.encode(),
        }
        await self.app(scope, receive, send)
        return sent
