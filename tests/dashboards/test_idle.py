"""Two fleets without load: panels show 0, not "No data"."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from harness.authcache.variants import load_variants
from harness.experiment.companions import sidecars
from harness.plan.arms import reference_arm
from harness.plan.plan import make_plan
from harness.prometheus.api import PrometheusApi, Series
from harness.prometheus.binaries import Binary
from harness.scenario.loader import load_scenario
from harness.stack.embedded import EmbeddedStack
from tests.dashboards.boards import ALL_TARGETS
from tests.programs import prometheus
from tests.silence import Silence
from tools.dashboards.substitute import EVERYTHING, PanelQuery, substituted

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

VARIANTS = ("litellm_1_84", "memory_only")
"""One with a Redis tier and one without."""
CONSTANT = {
    "Source reads per 1,000 requests, by variant B": 43,  # the reference line
    "Replicas up and expected A": 2,
    "Replicas up and expected B": 2,
}
"""Queries whose value does not speak of requests, and what they show at least."""
PATIENCE_S = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrometheusApi]:
    binary = Binary(prometheus(), "test", "any")
    run_dir: Path = tmp_path_factory.mktemp("idle")
    known = load_variants(None)
    plan = make_plan(
        load_scenario("smoke"), [reference_arm(known[name]) for name in VARIANTS], stack="embedded"
    )
    stack = EmbeddedStack(run_dir / "logs")
    try:
        await stack.open()
        fleets = [await stack.start(plan.fleet(arm)) for arm in plan.arms]
        progress = Silence()
        async with sidecars(plan, stack, fleets, run_dir, binary, progress) as companions:
            assert companions.recorded is not None, progress.notes
            await _five_scrapes(companions.recorded)
            yield companions.recorded
    finally:
        await stack.close()


async def _five_scrapes(api: PrometheusApi) -> None:
    """As many as a rate over four needs, of every target."""
    deadline = time.monotonic() + PATIENCE_S
    while not await api.query("min(count_over_time(up[1h])) >= 5"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda t: t.name)
async def test_a_query_shows_zero(idle: PrometheusApi, target: PanelQuery) -> None:
    everything = dict.fromkeys(("variant", "replica", "key_scope", "object"), EVERYTHING)
    expr = substituted(target.expr, everything | {"__rate_interval": "4s"})
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = await idle.query(expr)
        try:
            _check(target, found)
        except AssertionError:
            # A scrape that a busy machine misses leaves a rate over four without enough of them.
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return


def _check(target: PanelQuery, found: list[Series]) -> None:
    assert {one.labels["variant"] for one in found} == set(VARIANTS)
    least = CONSTANT.get(f"{target.panel} {target.ref}")
    if target.panel == "Redis: memory":
        # A Redis takes memory at rest; a fleet without one takes none.
        assert {one.labels["variant"]: one.last > 0 for one in found} == dict(
            zip(VARIANTS, (True, False), strict=True)
        )
    elif least is not None:
        assert all(one.last >= least for one in found)
    else:
        assert [one.last for one in found] == [0.0] * len(found)
