"""Records what one replica of a target leaves in Redis, for the matrix of writers and readers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
from redis.asyncio import Redis

from harness.analysis.recorded import write_corpus
from harness.authcache.words import KeyScope
from harness.domain.population import VirtualKey, chat_request, make_population
from harness.domain.series import CHAT_ROUTE
from harness.errors import SetupError, UsageError
from harness.live.keep import FleetRequest, fleets_up
from harness.observe.snapshots import watch
from harness.process.loopback import local_http
from harness.process.waiting import while_alive

TTL_S = 300.0
"""Longer than a recording takes, so that nothing expires before it is read."""
REQUESTS = 2
"""With each key: one that finds nothing, and one that finds what the first left."""
_SEED = 27874
_END = "authcache-harness:recorded"
_NESTED = '{"nested": {"list": [1, 2.5, null, true]}, "text": "ü"}'
_RICHER = {
    "LiteLLM_VerificationToken": (
        "token",
        f"metadata = '{_NESTED}', max_parallel_requests = 1000001, expires = '2100-01-02 03:04:05'",
    ),
    "LiteLLM_UserTable": (
        "user_id",
        f"metadata = '{_NESTED}', user_alias = 'ü', user_email = 'u@example.invalid'",
    ),
    "LiteLLM_TeamTable": (
        "team_id",
        f"metadata = '{_NESTED}', team_alias = 'ü', max_parallel_requests = 1000001",
    ),
}
"""By table: its key, and columns that all releases have and that a plain row leaves empty."""


async def record(request: FleetRequest) -> None:
    """Record the payloads of every target, one corpus each.

    Raises:
        SetupError: a target could not be started or did not answer.
        UsageError: a target keeps no auth object in Redis.
    """
    scenario = request.scenario.model_copy(update={"ttl_s": TTL_S})
    async with fleets_up(replace(request, scenario=scenario), "record") as kept:
        model = kept.plan.keys[0].models[0]
        for fleet in kept.fleets:
            if fleet.redis_url is None:
                raise UsageError(f"[{fleet.name}] has no Redis tier. There is nothing to record.")
            keys = _population(model)
            async with (
                watch(fleet) as observer,
                Redis.from_url(fleet.redis_url, decode_responses=True) as redis,
            ):
                await fleet.spec.target.database.seed(observer.postgres, keys)
                await _enrich(observer.postgres, keys[-2:])
                asked: set[str] = set()
                sets: list[tuple[str, str]] = []
                async with _watching(fleet.redis_url, asked, sets):
                    sending = _send(fleet.replica_urls[0], keys, model)
                    await while_alive(sending, kept.stack.died)
                    await observer.at_rest()
                held = [str(key) async for key in redis.scan_iter(_type="string")]
                values = await redis.mget(held) if held else []
            # In the end a key may hold another object than it held in between.
            ended = [(key, str(value or "")) for key, value in zip(held, values, strict=True)]
            path = write_corpus(fleet.name, keys, _decoded([*sets, *ended]), sorted(asked))
            request.say(f"{fleet.name}: {len(held)} entries in Redis, written to {path.name}")


def _population(model: str) -> list[VirtualKey]:
    """One key of each scope with a cleared budget, then two with more columns filled."""
    rows = (str(KeyScope.MEMBER), str(KeyScope.SHARED_ID))
    counts = dict.fromkeys((str(KeyScope.TEAM), str(KeyScope.USER), *rows), 1)
    plain = make_population(counts, dict.fromkeys(rows, "cleared"), seed=_SEED, model=model)
    rich = make_population(
        dict.fromkeys(rows, 1), dict.fromkeys(rows, "budget"), seed=_SEED + 1, model=model
    )
    return [*plain, *(replace(key, index=len(plain) + n) for n, key in enumerate(rich))]


async def _enrich(postgres: asyncpg.Connection, keys: Sequence[VirtualKey]) -> None:
    for table, (column, values) in _RICHER.items():
        ids = [getattr(key, column) for key in keys]
        statement = f'UPDATE "{table}" SET {values} WHERE {column} = ANY($1)'  # noqa: S608 - ours
        await postgres.execute(statement, ids)


async def _send(url: str, keys: Sequence[VirtualKey], model: str) -> None:
    body = chat_request(model, "hello", 1)
    async with local_http(timeout=60.0) as http:
        for key in keys:
            for _ in range(REQUESTS):
                reply = await http.post(
                    url + CHAT_ROUTE,
                    json=body,
                    headers={"Authorization": f"Bearer {key.secret}"},
                )
                if reply.is_server_error:
                    raise SetupError(
                        f"A request with a key of scope [{key.scope}] was answered "
                        f"{reply.status_code}: {reply.text[:200]}. See logs/ in the run's folder."
                    )


def _decoded(texts: Sequence[tuple[str, str]]) -> list[tuple[str, Any]]:
    decoded = []
    for key, text in texts:
        with contextlib.suppress(ValueError):  # A lock, a number under way.
            decoded.append((key, json.loads(text)))
    return decoded


def set_by(command: str) -> tuple[str, str] | None:
    """Key and value of a SET of a JSON object, from a line of MONITOR; None for any other.

    Redis writes bytes beyond ASCII and backslashes as escapes; the client has already removed the
    quotes around arguments and the escapes of quotes within them.
    """
    found = _SET.match(command)
    if found is None:
        return None
    key, value = found.groups()
    plain = value.encode("latin-1", "backslashreplace").decode("unicode_escape")
    return key, plain.encode("latin-1", "replace").decode(errors="replace")


_SET = re.compile(r"SET(?:EX)? (\S+) (?:\d+ )?(\{.*\})(?: [A-Z].*)?$", re.DOTALL)


@contextlib.asynccontextmanager
async def _watching(url: str, asked: set[str], sets: list[tuple[str, str]]) -> AsyncIterator[None]:
    """Collect the keys of every GET and MGET, and what is SET, while the block runs."""
    started = asyncio.Event()

    async def listen(redis: Redis) -> None:
        async with redis.monitor() as monitor:
            started.set()
            async for seen in monitor.listen():
                name, *names = seen["command"].split(" ")
                if name.upper() in ("GET", "MGET"):
                    asked.update(names)
                elif (written := set_by(seen["command"])) is not None:
                    sets.append(written)
                if _END in names:
                    return

    # Without a time-out: while a gateway starts a request, Redis may be asked nothing for long.
    async with Redis.from_url(url, socket_timeout=None) as redis, asyncio.TaskGroup() as group:
        listening = group.create_task(listen(redis))
        await started.wait()
        yield
        await redis.get(_END)
        await listening
