"""Every equation balances when it should, and each is shown to be able to fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.authcache.words import ObjectKind
from harness.domain.result import Equation
from harness.observe.counters import Series
from harness.observe.ledger import RULES, ledger, reconcile
from tests.observe.build import BALANCED, evidence, series


def _by_name(**changes: Any) -> dict[str, Equation]:
    return {equation.name: equation for equation in reconcile(evidence(**changes))}


def test_a_whole_window_balances() -> None:
    equations = _by_name()
    assert {e.status for e in equations.values()} == {"balanced"}
    assert ledger(list(equations.values())).balanced
    assert set(equations) == {rule.name for rule in RULES}


EXTRA_GET = series("authcache_redis_gets_total", 7, purpose="lookup")
EXTRA_READ = series(
    "authcache_source_reads_total", 6, object="key", reason="miss", key_scope="team"
)
OTHER_STATUS = series(
    "http_requests_total", 1, route="/v1/chat/completions", status="401", key_scope="team"
)
UNUSUAL = tuple(
    series("http_requests_total", n, route="/v1/chat/completions", status=status, key_scope="team")
    for n, status in ((3, "other"), (1, "401"))
)
EXTRA_REDIS = series(
    "authcache_lookups_total",
    4,
    tier="redis",
    op="load",
    outcome="miss",
    object="key",
    key_scope="team",
)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"408": 2, "413": 1, "401": 1}, "balanced"),
        ({"408": 2, "413": 2, "401": 1}, "unbalanced"),
        ({"408": 2, "401": 2}, "unbalanced"),
    ],
)
def test_statuses_that_replicas_do_not_name_are_reconciled_together(
    sent: dict[str, int], status: str
) -> None:
    generator = {"statuses": {"team": {"200": 100, **sent}}}
    assert _by_name(generator=generator, more=UNUSUAL)["requests"].status == status


@pytest.mark.parametrize(
    ("changes", "spoiled"),
    [
        ({"generator": {"statuses": {"team": {"200": 99}}}}, {"requests"}),
        ({"generator": {"statuses": {"user": {"200": 100}}}}, {"requests"}),
        ({"more": (OTHER_STATUS,)}, {"requests"}),
        ({"generator": {"statuses": {"team": {"200": 100, "401": 1}}}}, {"requests"}),
        ({"generator": {"unanswered": {"timeout": 1}}}, {"unanswered"}),
        ({"more": (EXTRA_REDIS,)}, {"redis_lookups"}),
        ({"more": (EXTRA_GET,)}, {"redis_gets"}),
        ({"gets": 7}, {"redis_gets"}),
        ({"more": (EXTRA_READ,)}, {"source_reads", "statements"}),
        ({"calls": {ObjectKind.KEY: 7}}, {"statements"}),
        ({"calls": {ObjectKind.KEY: 5, ObjectKind.USER: 1}}, {"statements"}),
        ({"key_spend": 24_999}, {"key_spend"}),
    ],
    ids=[
        "a request nobody sent",
        "another scope",
        "another status",
        "a request of another status that no replica saw",
        "no answer",
        "a Redis lookup without a memory miss",
        "a GET that Redis did not see",
        "a GET that nobody sent",
        "a read that no lookup called for",
        "a statement that nobody sent",
        "two objects' mistakes of opposite sign",
        "a lost millionth",
    ],
)
def test_each_equation_can_fail(changes: dict[str, Any], spoiled: set[str]) -> None:
    equations = _by_name(**changes)
    assert {name for name, e in equations.items() if e.status == "unbalanced"} == spoiled
    assert not ledger(list(equations.values())).balanced


def test_a_ledger_that_checked_nothing_is_neither_balanced_nor_unbalanced() -> None:
    assert ledger([]).balanced is None
    unseen = [e.model_copy(update={"status": "not_checked"}) for e in reconcile(evidence())]
    assert ledger(unseen).balanced is None
    # A finding is about the variant: it balances no run.
    assert (
        ledger([*unseen, reconcile(evidence())[0].model_copy(update={"kind": "finding"})]).balanced
        is None
    )
    assert ledger([*unseen, reconcile(evidence())[0]]).balanced is True


def test_a_failed_source_read_is_no_statement() -> None:
    error = series("authcache_source_read_errors_total", 1, object="key")
    statements = _by_name(more=(error,), calls={ObjectKind.KEY: 5})["statements"]
    assert statements.status == "balanced"
    assert (statements.left, statements.right, statements.residual) == (5, 5, 0)


def test_without_redis_no_lookup_may_ask_it() -> None:
    equations = _by_name(has_redis=False)
    assert equations["redis_lookups"].status == "unbalanced"
    assert equations["redis_gets"].status == "not_checked"
    assert equations["redis_gets"].reason == "the variant has no Redis tier"
    in_memory = tuple(item for item in BALANCED if ("tier", "redis") not in item[0][1])
    assert _by_name(has_redis=False, counted=in_memory)["redis_lookups"].status == "balanced"


def test_requests_to_other_routes_are_no_load() -> None:
    health = series("http_requests_total", 9, route="/health", status="200", key_scope="team")
    assert _by_name(more=(health,))["requests"].status == "balanced"


def test_a_wait_for_a_source_read_comes_after_redis_was_asked() -> None:
    waits = series("authcache_coalesced_total", 1, object="key", stage="before_source")
    fewer = series("authcache_source_reads_total", 4, object="key", reason="miss", key_scope="team")
    equations = _by_name(more=(waits, fewer), calls={ObjectKind.KEY: 5})
    assert {equation.status for equation in equations.values()} == {"balanced"}


def _lookup(n: int, op: str, tier: str, outcome: str) -> tuple[Series, float]:
    return series("authcache_lookups_total", n, tier=tier, op=op, outcome=outcome, object="team")


def test_peeks_ask_redis_and_never_postgres() -> None:
    peeks = (
        _lookup(5, "peek", "memory", "hit"),
        _lookup(3, "peek", "memory", "miss"),
        _lookup(2, "peek", "redis", "hit"),
        _lookup(1, "peek", "redis", "miss"),
        series("authcache_redis_gets_total", 3, purpose="peek"),
    )
    equations = _by_name(more=peeks, gets=9)
    assert {equation.status for equation in equations.values()} == {"balanced"}


def test_what_was_not_counted_says_so_even_where_no_one_gave_a_reason() -> None:
    window = evidence(gets=None)
    window = replace(window, after=replace(window.after, statements=None))
    reasons = {e.name: e.reason for e in reconcile(window) if e.status == "not_checked"}
    assert reasons == {
        "redis_gets": "Redis is not the fleet's own",
        "statements": "Postgres has no pg_stat_statements",
    }


def test_an_unbalanced_equation_says_by_how_much() -> None:
    spend = _by_name(key_spend=24_990)["key_spend"]
    assert (spend.left, spend.right, spend.residual) == (25_000, 24_990, 10)


def test_what_cannot_be_counted_is_not_checked_and_says_why() -> None:
    window = evidence(gets=None, not_counted={"redis": "others use it", "postgres": "no extension"})
    window = replace(window, after=replace(window.after, statements=None))
    equations = {e.name: e for e in reconcile(window)}
    assert equations["redis_gets"].reason == "others use it"
    assert equations["statements"].reason == "no extension"
    assert equations["statements"].left is None
    assert ledger(list(equations.values())).balanced


def test_what_a_target_cannot_be_held_to_is_not_checked() -> None:
    spoiled = series("authcache_redis_gets_total", 99, purpose="lookup")
    equations = _by_name(more=(spoiled,), not_checked={"redis_gets": "Lua scripts share it"})
    assert equations["redis_gets"].status == "not_checked"
    assert equations["redis_gets"].reason == "Lua scripts share it"
    assert ledger(list(equations.values())).balanced


def test_spend_that_a_release_loses_is_a_finding_about_it() -> None:
    lost = _by_name(key_spend=24_000, findings=frozenset({"key_spend"}))
    assert lost["key_spend"].status == "unbalanced"
    assert lost["key_spend"].kind == "finding"
    assert ledger(list(lost.values())).balanced
    assert not ledger(list(_by_name(key_spend=24_000).values())).balanced


def test_a_read_that_no_lookup_came_before_is_counted_with_the_statements() -> None:
    direct = series(
        "authcache_source_reads_total", 1, object="key", reason="direct", key_scope="team"
    )
    equations = _by_name(more=(direct,), calls={ObjectKind.KEY: 7})
    assert equations["source_reads"].status == "balanced"
    assert equations["statements"].status == "balanced"
    assert _by_name(more=(direct,))["statements"].status == "unbalanced"
