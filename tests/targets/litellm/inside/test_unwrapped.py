"""A real release does what it does whatever becomes of the instrumentation.

Each fleet has one fault in its instrumentation, and is compared with one that has none by what is
counted elsewhere: statuses by the client, statements and spend by Postgres, pairs by its own log.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.domain.series import PENDING, HookPoint
from harness.observe.counters import Counters
from harness.observe.snapshots import Observer, watch
from harness.process.loopback import local_http
from harness.stack.base import FleetSpec
from harness.stack.embedded import EmbeddedStack
from harness.targets.base import ProcessSpec, ReplicaContext
from harness.targets.litellm.inside.lookups import UNSEEN
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.target import LiteLLMTarget
from harness.targets.settings import RunSettings
from tests.plants.test_plants import ALL
from tests.silence import Silence
from tests.targets.world import COST_MICRO, MODEL, PATIENCE_S, one_key, running_stack, spent

pytestmark = pytest.mark.integration

RELEASE = "litellm==1.84.0rc1"
BOOT = Path(__file__).with_name("spoiled_boot.py")
KEYS = (
    ("team", "budget"),
    ("user", "budget"),
    ("shared_id", "budget"),
    ("member", "budget"),
    ("member", "cleared"),
)
ROUNDS = 10
PAIR = "failed to deserialize cached value for key"


class SpoiledTarget(LiteLLMTarget):
    """Starts its replicas with a fault, by the name of the fleet."""

    def process(self, context: ReplicaContext) -> ProcessSpec:
        spec = super().process(context)
        argv = [str(BOOT) if part.endswith("boot.py") else part for part in spec.argv]
        fault = context.fleet.replace("+", " ")
        return replace(spec, argv=tuple(argv), env={**spec.env, "AUTHCACHE_TEST_FAULT": fault})


@dataclass
class Did:
    """What one fleet did with the same requests, as others counted it."""

    statuses: dict[tuple[str, ...], list[int]]
    reads: dict[ObjectKind, int]
    pairs: int
    spend: list[dict[str, int]]
    page: Counters
    """Of its one worker, at the end."""
    counted: Counters
    """The same, since the first request."""

    @property
    def points(self) -> dict[str, str]:
        """Points that are not instrumented, with the reason."""
        return {
            dict(labels)["point"]: dict(labels)["reason"]
            for (name, labels), value in self.page.items()
            if name == "authcache_instrumented" and not value
        }

    @property
    def counts(self) -> dict[str, int]:
        """Statements by object, and log pairs."""
        return {kind.value: calls for kind, calls in self.reads.items()} | {"pairs": self.pairs}

    @property
    def errors(self) -> dict[tuple[str, ...], float]:
        return self.page.by("authcache_instrument_errors_total", "point")


@dataclass
class Lab:
    """A Postgres, and fleets that run one after the other."""

    stack: EmbeddedStack
    run: Callable[[Any], Any]

    def did(self, fault: str) -> Did:
        found: Did = self.run(self._did(fault))
        return found

    async def _did(self, fault: str) -> Did:
        release = parse_release(RELEASE)
        target = SpoiledTarget(release, await ensure_environment(release, Silence()))
        settings = RunSettings(ttl_s=60.0, cost_micro=COST_MICRO)
        fleet = await self.stack.start(FleetSpec(fault.replace(" ", "+"), target, 1, 1, settings))
        keys = [await one_key(fleet.dsn, *scope) for scope in KEYS]
        statuses: dict[tuple[str, ...], list[int]] = {scope: [] for scope in KEYS}
        async with (
            watch(fleet) as observer,
            local_http(timeout=PATIENCE_S) as http,
        ):
            before, start = await observer.statements(), await observer.live(())
            for _ in range(ROUNDS):
                for scope, key in zip(KEYS, keys, strict=True):
                    statuses[scope].append(await _chat(http, fleet.replica_urls[0], key))
            spend = await _booked(observer, keys, statuses)
            after, end = await observer.statements(), await observer.live(())
        # This fleet alone; the stack and its Postgres serve the next one.
        await self.stack.stop_sidecars(f"fleet:{fleet.name}")
        assert before is not None
        assert after is not None
        reads = {k: after.reads[k].since(before.reads[k]).calls for k in ObjectKind}
        log = fleet.log_files[0].read_text(encoding="utf-8")
        return Did(statuses, reads, log.count(PAIR), spend, end, end.since(start))


async def _chat(http: httpx.AsyncClient, url: str, key: VirtualKey) -> int:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
    headers = {"authorization": f"Bearer {key.secret}"}
    return (await http.post(f"{url}/v1/chat/completions", json=body, headers=headers)).status_code


async def _booked(
    observer: Observer, keys: list[VirtualKey], statuses: dict[tuple[str, ...], list[int]]
) -> list[dict[str, int]]:
    """Spend of each key and its owners, once the keys have paid for every reply."""
    owed = [statuses[scope].count(200) * COST_MICRO for scope in KEYS]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        # To ask what is pending has the spend written.
        await observer.live((PENDING,))
        # As another role than the fleet's own, whose statements are counted.
        rows = [await spent(observer.fleet.admin_dsn, key) for key in keys]
        paid = [set(row.values()) == {cost} for row, cost in zip(rows, owed, strict=True)]
        if all(paid) or time.monotonic() > deadline:
            return rows
        await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_stack(tmp_path_factory.mktemp("unwrapped")) as (stack, run):
        yield Lab(stack, run)


@pytest.fixture(scope="module")
def whole(lab: Lab) -> Did:
    """With the whole instrumentation."""
    did = lab.did("none")
    assert did.points == {}
    assert did.errors == {}
    assert {status for each in did.statuses.values() for status in each} == {200, 401}
    assert did.reads[ObjectKind.USER] >= ROUNDS
    assert did.pairs >= ROUNDS
    for kind, reads in did.reads.items():
        assert did.counted.sum("authcache_source_reads_total", object=kind) == reads, kind
    return did


def check_same(did: Did, whole: Did) -> None:
    """Statuses and spend to the unit; reads and log pairs but for what tasks do in their time."""
    assert did.statuses == whole.statuses
    assert did.spend == whole.spend
    for name, usual in whole.counts.items():
        assert did.counts[name] == pytest.approx(usual, rel=0.2, abs=3), (name, did.counts)


@pytest.mark.long
@pytest.mark.parametrize(
    "point",
    sorted(set(HookPoint) - {HookPoint.REQUESTS})
    if ALL in os.environ
    else [HookPoint.CODEC, HookPoint.STATEMENTS],
)
def test_a_point_that_is_missing_changes_nothing(lab: Lab, whole: Did, point: str) -> None:
    did = lab.did(f"without {point}")
    check_same(did, whole)
    assert did.points == {point: f"cannot be wrapped: AttributeError: planted: {point}"}
    assert did.errors == {}


@pytest.mark.long
def test_wrappers_that_fail_change_nothing_and_every_one_is_counted(lab: Lab, whole: Did) -> None:
    did = lab.did("failing")
    check_same(did, whole)
    assert set(did.errors) == {(point.value,) for point in HookPoint}


@pytest.mark.long
def test_failures_to_decode_that_are_not_seen_are_not_called_none(lab: Lab, whole: Did) -> None:
    did = lab.did("blind")
    check_same(did, whole)
    assert did.points == {"codec": UNSEEN}
    assert did.errors == {}
    # The statements are counted as they are; no lookup says why they were sent.
    assert did.counted.sum("authcache_source_reads_total", object="user") == pytest.approx(
        whole.counted.sum("authcache_source_reads_total", object="user"), rel=0.2, abs=3
    )
