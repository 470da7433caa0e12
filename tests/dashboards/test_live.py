"""A real run of two variants in a real Prometheus: what panels show, and whether it is right."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.prometheus.api import PrometheusApi, Series
from harness.prometheus.recorder import UNFINISHED
from harness.prometheus.reopen import Opened, reopened
from tests.dashboards.boards import ALL_TARGETS, BOARDS
from tests.programs import prometheus
from tests.runs.support import harness
from tools.dashboards.render.data import Span, regions
from tools.dashboards.substitute import EVERYTHING, PanelQuery, chosen, substituted

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

BROKEN, SOUND = "litellm_1_84", "recommended"
VARIANTS = {BROKEN, SOUND}
SCENARIO = """
name = "watched"
title = "Two variants, long enough to be looked at"
replicas = 2
ttl_s = 2.0
variants = ["litellm_1_84", "recommended"]
rounds = 1

[population]
team = 1
user = 1
shared_id = 1
member = 1
member_row = "cleared"

[load]
rate_per_s = 60
users = 32
mix = { team = 1, user = 1, shared_id = 1, member = 1 }
cold_fill = true
warmup_ttls = 1
window_ttls = 3

[limits]
min_requests_per_object = 5
late_ms = 5000

[premises]
null_user_for_team_keys = true

[changes]
lead_ttls = 1
spread_ttls = 0.5
tail_ttls = 1

[[change]]
action = "team-block"
scope = "member"
way = "sql"

[[change]]
action = "key-limits"
scope = "user"
"""

MAY_BE_ZERO = {
    "Lookups that took another's answer A",  # only when two ask at the same moment
    "Requests that started late A",  # only on a machine that is too busy
    "News of changes A",  # only where an invalidation is switched on
    "Replicas missing, now A",
}
"""Queries that a run without trouble leaves at 0."""
NOTHING_FOR_THE_SOUND = {
    "Deserialize failures, most in view A",
    "Log records, most in view A",
    "Deserialize failures by object and key scope A",
    "Log records by signature A",
    "Stale replies by object A",
    "Stale replies by object and key scope A",
}
"""Queries that stay at 0 for a variant without a defect."""


COUNTED = (
    *("authcache_source_reads_total", "http_requests_total", "authcache_lookups_total"),
    *("authcache_writes_total", "authcache_log_records_total"),
)
"""Counters of the workers that a snapshot has."""


@dataclass(frozen=True)
class Watched:
    """The run and the Prometheus that recorded it."""

    opened: Opened
    run_dir: Path

    @property
    def api(self) -> PrometheusApi:
        return self.opened.api

    @property
    def span(self) -> Span:
        return Span(self.opened.start, self.opened.end)

    def snapshots(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.run_dir / "snapshots").glob("*.json.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                yield json.load(file)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    binary = prometheus()
    folder = tmp_path_factory.mktemp("watched")
    (folder / "watched.toml").write_text(SCENARIO)
    runs = folder / "runs"
    ended = harness(
        runs,
        *("loadtest", "--scenario", str(folder / "watched.toml"), "--runs-dir", str(runs)),
        *("--prometheus", "on"),
        AUTHCACHE_PROMETHEUS=str(binary),
    )
    # Without expectations every variant is observed; a machine too busy may make the run invalid,
    # which is no reason not to look at what was recorded.
    assert ended.code in {0, 3, 4}, ended.output
    assert UNFINISHED not in ended.output, "what is asked below needs the scrape after the run"
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AUTHCACHE_PROMETHEUS", str(binary))
            opened = await stack.enter_async_context(reopened((runs / "latest").resolve()))
        yield Watched(opened, (runs / "latest").resolve())


def _values(**values: str) -> dict[str, str]:
    everything = dict.fromkeys(("variant", "replica", "key_scope", "object"), EVERYTHING)
    return everything | {"__rate_interval": "4s"} | values


async def _asked(watched: Watched, target: PanelQuery, **values: str) -> list[Series]:
    expr = substituted(target.expr, _values(**values))
    span = watched.span
    return await watched.api.query_range(expr, span.start, span.end, 1.0)


def _greatest(series: list[Series], variant: str) -> float:
    values = [n for one in series if one.labels["variant"] == variant for n in one.numbers]
    return max(values, default=math.nan)


def _short(target: PanelQuery) -> str:
    return f"{target.panel} {target.ref}"


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda t: t.name)
async def test_a_query_shows_both_variants(watched: Watched, target: PanelQuery) -> None:
    for value in (EVERYTHING, chosen(sorted(VARIANTS))):
        series = await _asked(watched, target, variant=value)
        assert {one.labels["variant"] for one in series if one.numbers} == VARIANTS
    assert all(number >= 0 for one in series for number in one.numbers)
    if _short(target) not in MAY_BE_ZERO:
        assert _greatest(series, BROKEN) > 0
        if _short(target) in NOTHING_FOR_THE_SOUND:
            assert _greatest(series, SOUND) == 0
        else:
            assert _greatest(series, SOUND) > 0


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda t: t.name)
async def test_a_query_follows_the_variables(watched: Watched, target: PanelQuery) -> None:
    one = await _asked(watched, target, variant=chosen([SOUND]))
    assert {series.labels["variant"] for series in one} == {SOUND}
    narrowed = {"replica": "1", "key_scope": "user", "object": "key"}
    for name, value in narrowed.items():
        series = await _asked(watched, target, **{name: value})
        assert {each.labels["variant"] for each in series} == VARIANTS
        assert {each.labels.get(name, value) for each in series} == {value}
    none = await _asked(watched, target, variant=chosen(["absent"]))
    assert none == []


async def test_variables_offer_what_there_is(watched: Watched) -> None:
    offered = {}
    for variable in BOARDS["one-fleet.json"]["templating"]["list"]:
        if variable["type"] == "query":
            inner = variable["query"].removeprefix("label_values(").removesuffix(")")
            series, _, label = inner.rpartition(", ")
            match = substituted(series, _values())
            offered[variable["name"]] = set(await watched.api.label_values(label, match))
    assert offered == {
        "variant": VARIANTS,
        "replica": {"0", "1"},
        "key_scope": {"team", "user", "shared_id", "member", "unknown"},
        "object": {"key", "user", "team", "membership"},
    }


async def test_windows_are_regions(watched: Watched) -> None:
    for board in BOARDS.values():
        found = await regions(watched.api, board, watched.span, {})
        names = [region.name for region in found]
        assert sorted(names) == sorted(
            f"{variant}: {phase}"
            for variant in VARIANTS
            for phase in ("cold_fill", "warmup", "measured", "changes", "refusals")
        )
        assert all(region.end > region.start for region in found if "measured" in region.name)


async def test_no_series_says_the_same_twice(watched: Watched) -> None:
    at = watched.opened.end
    assert await watched.api.query('{exported_variant=~".+"}', at) == []
    assert await watched.api.query('{exported_job=~".+"}', at) == []
    up = await watched.api.query('up{job="authcache"}', at)
    assert {(s.labels["variant"], s.labels["replica"], s.labels["worker"]) for s in up} == {
        (variant, replica, "0") for variant in VARIANTS for replica in ("0", "1")
    }


async def test_counters_agree_with_the_ledger_within_a_scrape(watched: Watched) -> None:
    """What a window counted lies between the scrapes just inside it and those just outside."""
    grown = 0
    for snapshot in watched.snapshots():
        if snapshot["phase"] != "measured":
            continue
        before, after = snapshot["before"], snapshot["after"]
        exact = {name: _count(after, name) - _count(before, name) for name in COUNTED}
        exact["authcache_statement_calls_total"] = _calls(after) - _calls(before)
        edges = await _edges(watched, snapshot["variant"])
        for name, count in exact.items():
            least, most = await _growth(watched, name, snapshot["variant"], edges)
            assert least <= count <= most, (name, snapshot["window"])
            grown += least > 0
    assert grown >= len(VARIANTS) * 3, "scrapes fell within the windows, and counters grew"


async def test_at_rest_every_party_counts_the_same(watched: Watched) -> None:
    """The ledger's equations over the whole run, as the last scrape that succeeded shows it."""
    for labels, left, right in (
        (
            "variant, key_scope, status",
            'http_requests_total{route="/v1/chat/completions"}',
            "authcache_generator_requests_total",
        ),
        (
            "variant, object",
            "authcache_source_reads_total",
            "authcache_statement_calls_total",
        ),
        (
            "variant",
            "authcache_redis_gets_total",
            "authcache_redis_keyspace_total",
        ),
        (
            "variant",
            "authcache_generator_planned_total",
            "authcache_generator_requests_total",
        ),
    ):
        sides = [
            await _sums(watched, labels, f"last_over_time({selected}[1m]) > 0")
            for selected in (left, right)
        ]
        assert sides[0] == sides[1], left
        assert {dict(key)["variant"] for key in sides[0]} == VARIANTS
        assert sum(sides[0].values()) > 0


@pytest.mark.parametrize("alert", ["AuthCacheDeserializeFailures", "AuthCacheStaleBeyondPromise"])
async def test_an_alert_fired_for_the_broken_variant_only(watched: Watched, alert: str) -> None:
    span = watched.span
    expr = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    fired = await watched.api.query_range(expr, span.start, span.end, 1.0)
    assert {one.labels["variant"] for one in fired} == {BROKEN}
    others = 'ALERTS{alertname="ReplicaMissing",alertstate="firing"}'
    assert await watched.api.query_range(others, span.start, span.end, 1.0) == []


async def test_the_report_says_that_the_run_was_recorded(watched: Watched) -> None:
    result = json.loads((watched.run_dir / "result.json").read_text())
    assert any("recorded the run" in note for note in result["notes"])
    assert (watched.run_dir / "prometheus" / "data" / "wal").is_dir()
    assert (
        str(watched.run_dir.parent)
        not in (watched.run_dir / "prometheus" / "prometheus.yml").read_text()
    )


@dataclass(frozen=True)
class Edges:
    """Scrapes around a window: the last before it, the first and last in it, the first after it."""

    before: float
    first: float
    last: float
    after: float


async def _edges(watched: Watched, variant: str) -> Edges:
    """Of the measured window, as the exporter told Prometheus."""
    expr = f'authcache_window_active{{variant="{variant}",phase="measured"}}[1d]'
    [active] = await watched.api.query(expr, watched.opened.end)
    within = [moment for moment, value in active.points if value == 1]
    before = [moment for moment, _ in active.points if moment < within[0]]
    after = [moment for moment, _ in active.points if moment > within[-1]]
    # A page is made a little after the time stamp of its scrape.
    return Edges(before[-1] - 0.2, within[0], within[-1], after[0] + 0.2)


async def _growth(watched: Watched, name: str, variant: str, edges: Edges) -> tuple[float, float]:
    """By how much a counter grew between the scrapes in a window, and between those around it.

    A recording ends with one scrape of everybody at rest, which may be the only one that a worker
    has after the run's last window, and may be a little earlier than the exporter's.
    """
    least = most = 0.0
    series = await watched.api.query(f'{name}{{variant="{variant}"}}[1d]', watched.opened.end)
    assert series, name
    for one in series:
        within = [value for moment, value in one.points if edges.first <= moment <= edges.last]
        least += within[-1] - within[0] if within else 0.0
        begin = [value for moment, value in one.points if moment <= edges.before]
        end = [value for moment, value in one.points if moment >= edges.after]
        most += (end or [one.last])[0] - begin[-1]
    return least, most


def _count(snapshot: dict[str, Any], name: str) -> float:
    return sum(
        float(value)
        for worker in snapshot["workers"]
        for series, value in worker.items()
        if series.startswith(f"{name}{{")
    )


def _calls(snapshot: dict[str, Any]) -> int:
    return sum(int(count["calls"]) for count in snapshot["statements"]["reads"].values())


async def _sums(
    watched: Watched, labels: str, expr: str
) -> dict[frozenset[tuple[str, str]], float]:
    found = await watched.api.query(f"sum by ({labels}) ({expr})", watched.opened.end)
    return {frozenset(one.labels.items()): one.last for one in found}
