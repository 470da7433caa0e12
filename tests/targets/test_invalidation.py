"""Changes that one worker takes while another holds copies, over real servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from harness.authcache.digest import hash_token
from harness.authcache.invalidation import Changed
from harness.authcache.layout import LAYOUTS
from harness.authcache.switches import Switches
from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.stack.base import Fleet
from tests.authcache.fakes import switched
from tests.targets.world import VARIANTS, Node, execute, node, one_key, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BLOCK = {
    ObjectKind.KEY: 'UPDATE "LiteLLM_VerificationToken" SET blocked = true WHERE token = $1',
    ObjectKind.TEAM: 'UPDATE "LiteLLM_TeamTable" SET blocked = true WHERE team_id = $1',
}


async def block(
    fleet: Fleet, handler: Node, switches: Switches, key: VirtualKey, kind: ObjectKind
) -> None:
    """Block a key or its team in Postgres, and report it to the handler."""
    layout, token, team_id = LAYOUTS[switches.key_layout], hash_token(key.secret), key.team_id
    assert team_id is not None
    copies: dict[ObjectKind, list[Changed]] = {
        ObjectKind.KEY: [(ObjectKind.KEY, layout.key(token))],
        ObjectKind.TEAM: [
            (ObjectKind.TEAM, layout.team(team_id)),
            (ObjectKind.TEAM, layout.team_copy(team_id)),
        ],
    }
    await execute(fleet.dsn, BLOCK[kind], token if kind is ObjectKind.KEY else team_id)
    await handler.worker.invalidation.changed(copies[kind])


@contextlib.asynccontextmanager
async def two_workers_with(
    fleet: Fleet, switches: Switches, name: str
) -> AsyncIterator[tuple[Node, Node, VirtualKey]]:
    """A handler and another worker, which both hold the objects of a key."""
    key = await one_key(fleet.dsn, "team")
    async with (
        node(fleet, switches, namespace=name) as handler,
        node(fleet, switches, namespace=name) as other,
    ):
        await handler.ok(key)
        await other.ok(key)
        yield handler, other, key


@pytest.mark.parametrize(
    ("republish", "kind", "status"),
    [
        ("on", ObjectKind.KEY, 200),
        ("on", ObjectKind.TEAM, 200),
        ("teams", ObjectKind.KEY, 401),
        ("teams", ObjectKind.TEAM, 200),
        ("off", ObjectKind.KEY, 401),
        ("off", ObjectKind.TEAM, 401),
    ],
)
async def test_a_request_elsewhere_stores_the_old_object_again(
    baseline: Fleet, republish: str, kind: ObjectKind, status: int
) -> None:
    """The handler evicts, another worker writes its copy to Redis, and the handler reads it."""
    switches = switched(VARIANTS["litellm_1_94"].switches, republish=republish)
    name = f"republish-{republish}-{kind}:"
    async with two_workers_with(baseline, switches, name) as (handler, other, key):
        await block(baseline, handler, switches, key, kind)

        await other.ok(key)

        assert (await handler.chat(key.secret)).status_code == status
        await handler.settled()


@pytest.mark.parametrize("kind", BLOCK)
async def test_every_worker_of_the_recommended_variant_is_notified(
    baseline: Fleet, kind: ObjectKind
) -> None:
    switches = VARIANTS["recommended"].switches
    name = f"told-{kind}:"
    async with two_workers_with(baseline, switches, name) as (handler, other, key):
        await block(baseline, handler, switches, key, kind)
        memory = other.worker.cache.memory
        layout = LAYOUTS[switches.key_layout]
        copy = (
            layout.key(hash_token(key.secret)) if kind == "key" else layout.team(key.team_id or "")
        )
        await until(lambda: memory.get(copy) is None)

        assert (await other.chat(key.secret)).status_code == 401
        assert (await handler.chat(key.secret)).status_code == 401
        page = other.counters()
        for event in ("received", "applied"):
            assert page.sum("authcache_invalidations_total", event=event, object=kind) >= 1
