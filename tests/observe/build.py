"""Evidence made by hand: a window in which everything balances, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.authcache.words import ObjectKind
from harness.domain.reads import ObjectRead
from harness.domain.window import KeyCount, ServedCount, WindowResult
from harness.observe.counters import Counters, Series
from harness.observe.evidence import Evidence
from harness.observe.postgres import StatementCount, Statements
from harness.observe.snapshots import RedisCount, Snapshot
from harness.targets.base import KeyPath, KeyTruth

NOTHING = Statements(dict.fromkeys(ObjectKind, StatementCount()))
NO_SPEND: Mapping[ObjectKind, Mapping[str, int]] = {kind: {} for kind in ObjectKind}


def series(name: str, value: float, **labels: str) -> tuple[Series, float]:
    return (name, frozenset(labels.items())), value


def page(*items: tuple[Series, float]) -> Counters:
    return Counters(dict(items))


def logged(n: int, kind: str = "key", scope: str = "team") -> tuple[ObjectRead, ...]:
    """So many reads of one object in a read log."""
    return tuple(ObjectRead(float(i), 0, f"{kind}:1", kind, "", scope) for i in range(n))


BALANCED = (
    # 100 requests; 100 loads in memory: 90 hits, 8 misses (2 of them waited), 2 failures. Three
    # objects written to Redis, of which two were claimed before.
    series(
        "http_requests_total", 100, route="/v1/chat/completions", status="200", key_scope="team"
    ),
    series("authcache_lookups_asked_total", 100, op="load", object="key", key_scope="team"),
    series("authcache_failed_reads_total", 2, object="key", logged="nothing", key_scope="team"),
    series("authcache_writes_total", 3, tier="redis", outcome="ok", object="key"),
    series("authcache_redis_sent_total", 4, command="get"),
    series("authcache_redis_sent_total", 5, command="set"),
    *(
        series(
            "authcache_lookups_total",
            n,
            tier="memory",
            op="load",
            outcome=outcome,
            object="key",
            key_scope="team",
        )
        for outcome, n in (("hit", 90), ("miss", 8), ("deserialize_failure", 2))
    ),
    *(
        series(
            "authcache_lookups_total",
            n,
            tier="redis",
            op="load",
            outcome=outcome,
            object="key",
            key_scope="team",
        )
        for outcome, n in (("hit", 3), ("miss", 3))
    ),
    series("authcache_coalesced_total", 2, object="key", stage="before_redis", key_scope="team"),
    series("authcache_source_reads_total", 5, object="key", reason="miss", key_scope="team"),
    series("authcache_source_reads_total", 1, object="key", reason="refresh", key_scope="team"),
    series("authcache_redis_gets_total", 4, purpose="lookup"),
    series("authcache_redis_gets_total", 2, purpose="claim"),
)

DECODED = tuple(
    item
    for item in (
        *BALANCED,
        series("authcache_lookups_asked_total", 98, op="load", object="key", key_scope="team"),
        series("authcache_source_reads_total", 3, object="key", reason="miss", key_scope="team"),
    )
    if "deserialize_failure" not in str(item[0]) and "failed_reads" not in item[0][0]
)
"""The same without failures: 98 loads, 4 reads."""


def _reads_of(values: Mapping[Series, float]) -> tuple[ObjectRead, ...]:
    """The log of workers that counted so many reads."""
    return tuple(
        read
        for (name, labels), n in values.items()
        if name == "authcache_source_reads_total"
        for read in logged(int(n), dict(labels)["object"], dict(labels)["key_scope"])
    )


def evidence(
    *,
    counted: tuple[tuple[Series, float], ...] = BALANCED,
    more: tuple[tuple[Series, float], ...] = (),
    calls: Mapping[ObjectKind, int] | None = None,
    gets: int | None = 6,
    redis: Mapping[str, int] | None = None,
    others: Mapping[str, int] | None = None,
    spend: Mapping[str, Mapping[str, int]] | None = None,
    generator: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Evidence:
    """A balanced window of 100 requests, with changes."""
    result = WindowResult(
        window="05-measured-a",
        planned=100,
        sent=100,
        answered=100,
        unanswered={},
        late=0,
        delay_ms_max=1.0,
        statuses={"team": {"200": 100}},
        statuses_by_key={0: {"200": 100}},
        cost_micro=25_000,
        keys=[
            KeyCount(
                scope="team",
                key_index=0,
                answered=100,
                admitted=100,
                cost_micro=25_000,
                named={"key": 100},
            )
        ],
        served=[
            ServedCount(
                scope="team",
                key_index=0,
                object="key",
                tier="memory",
                digest="right",
                count=100,
                age_ms_max=1500,
            )
        ],
        replicas=[50, 50],
        elapsed_s=4.0,
        cpu_s=0.1,
    ).model_copy(update=dict(generator or {}))
    ran = {kind: StatementCount((calls or {}).get(kind, 0)) for kind in ObjectKind}
    if calls is None:
        ran[ObjectKind.KEY] = StatementCount(6, 1.0, 6)
    gained = {"key": {"k0": 25_000}, **(spend or {})}
    values = dict(counted)
    values.update(more)
    before = Snapshot((page(),), NOTHING, RedisCount(0, {}), NO_SPEND)
    after = Snapshot(
        (Counters(values),),
        Statements(ran, {"transaction": 8}, others or {}),
        None if gets is None else RedisCount(gets, {"get": 4, "set": 5, **(redis or {})}),
        {kind: gained.get(kind.value, {}) for kind in ObjectKind},
    )
    whole = Evidence(
        name="05-measured-a",
        variant="a",
        phase="measured",
        round=1,
        started_s=1.0,
        duration_s=4.0,
        generator=result,
        before=before,
        after=after,
        truths={0: KeyTruth({"key": "right"}, 200)},
        has_redis=True,
        paths={0: KeyPath("team", {"key": "k0"})},
        cpu_s={"fleet:a": 0.3, "postgres": 0.1},
        reads=_reads_of(values),
    )
    return replace(whole, **changes)
