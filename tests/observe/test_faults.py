"""Counters and equations across a fault: what still must hold, and how much may be missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.authcache.words import ObjectKind
from harness.domain.faults import FAULTS, FaultEvent, PlannedFault
from harness.domain.result import Equation
from harness.observe.counters import Counters, Series
from harness.observe.evidence import Evidence
from harness.observe.ledger import RULES, ledger, reconcile
from harness.observe.snapshots import Scrape
from harness.targets.base import KeyPath
from tests.observe.build import NO_SPEND, evidence, page, series

REQUESTS = "http_requests_total"
SILENT = [what for what, fault in FAULTS.items() if not fault.replaces]


def _event(what: str, *, replica: int = 0, bit: int = 3) -> FaultEvent:
    return FaultEvent(PlannedFault(1, what, 2.0, 1.0, replica=replica), 2.0, 3.5, bit)


def _broken(what: str, **changes: Any) -> Evidence:
    """A window of a fault in which everything balances, its rows there at both ends."""
    window = evidence(phase="faults", fault=_event(what), **changes)
    rows = {**NO_SPEND, ObjectKind.KEY: {"k0": 0}}
    return replace(window, before=replace(window.before, spend=rows))


def _by_name(what: str, **changes: Any) -> dict[str, Equation]:
    return {e.name: e for e in reconcile(_broken(what, **changes))}


def _requests(n: int, status: str = "200") -> tuple[Series, float]:
    return series(REQUESTS, n, route="/v1/chat/completions", status=status, key_scope="team")


def _pages(*counts: float | None) -> tuple[Scrape, ...]:
    """Scrapes of one worker, a second apart."""
    return tuple(
        Scrape(at_s, (None if n is None else page(series(REQUESTS, n)),))
        for at_s, n in enumerate(counts)
    )


def _worker(what: str, first: float, *scrapes: float | None, last: float) -> Evidence:
    window = evidence(fault=_event(what))
    return replace(
        window,
        before=replace(window.before, workers=(page(series(REQUESTS, first)),)),
        after=replace(window.after, workers=(page(series(REQUESTS, last)),)),
        scrapes=_pages(*scrapes),
        generator=window.generator.model_copy(update={"replicas": [50]}),
    )


def test_a_worker_that_a_fault_replaced_counts_as_two() -> None:
    # 10 at first, 35 at its last scrape; then another process, which ends at 30.
    window = _worker("replica-kill", 10, 20, 35, None, 4, last=30)
    assert window.counted.sum(REQUESTS) == 25 + 30
    assert window.replaced == [0]
    assert window.fallen == []
    # The last scrape was at 1 s, and the fault at 2 s.
    assert window.unseen_s == 1.0


def test_two_successors_within_a_window_are_counted_too() -> None:
    assert _worker("replica-kill", 10, 20, 3, 9, 2, last=4).counted.sum(REQUESTS) == 10 + 9 + 4


def test_without_a_scrape_a_replaced_worker_counts_from_its_start() -> None:
    assert _worker("replica-kill", 10, last=4).counted.sum(REQUESTS) == 4


def test_a_worker_that_no_fault_replaces_must_not_fall() -> None:
    window = _worker("redis-hang", 10, 20, last=4)
    assert window.fallen == [REQUESTS]
    assert window.replaced == []


@pytest.mark.parametrize(
    ("what", "replica", "fallen"),
    [("replica-term", 0, False), ("replica-term", 1, True), ("redis-late", 1, False)],
)
def test_only_workers_of_the_replica_that_is_replaced_may_fall(
    what: str, replica: int, fallen: bool
) -> None:
    window = evidence(fault=_event(what, replica=replica))
    pages = [page(series(REQUESTS, 9, a="b")), page(series(REQUESTS, 1, a="b"))]
    window = replace(
        window,
        before=replace(window.before, workers=(pages[0], pages[1])),
        after=replace(window.after, workers=(pages[1], pages[1])),
    )
    assert bool(window.fallen) is fallen


@pytest.mark.parametrize("what", SILENT)
def test_a_window_of_a_fault_without_loss_balances(what: str) -> None:
    found = _by_name(what)
    assert {name: e.reason for name, e in found.items() if e.status == "unbalanced"} == {}
    assert ledger(list(found.values())).balanced
    assert "a fault was planned" in found["unanswered"].reason


def test_every_rule_says_what_it_becomes() -> None:
    assert all(rule.in_fault.says for rule in RULES)
    for equation in _by_name("redis-hang").values():
        rule = next(rule for rule in RULES if rule.name == equation.name)
        assert rule.in_fault.says in equation.description


@pytest.mark.parametrize(
    ("what", "not_checked"),
    [
        ("redis-hang", {"unanswered", "redis_gets", "redis_writes"}),
        ("redis-flush", {"unanswered", "redis_gets", "redis_writes"}),
        ("postgres-slow", {"unanswered"}),
        ("postgres-kill", {"unanswered", "statements", "all_statements"}),
        ("replica-hang", {"unanswered", "redis_gets", "redis_writes"}),
    ],
)
def test_what_a_fault_makes_uncountable_is_not_checked_with_its_reason(
    what: str, not_checked: set[str]
) -> None:
    found = _by_name(what)
    assert {n for n, e in found.items() if e.status == "not_checked"} == not_checked
    assert all(found[name].reason for name in not_checked)


def test_after_a_replica_was_replaced_only_generator_and_postgres_are_held_to_each_other() -> None:
    window = _broken("replica-kill")
    dead = Scrape(1.75, (Counters(dict([series(REQUESTS, 7.0)])),))
    window = replace(window, scrapes=(dead, Scrape(2.5, (Counters(),))))
    window = replace(
        window, generator=window.generator.model_copy(update={"unanswered": {"refused": 4}})
    )
    found = {e.name: e for e in reconcile(window)}
    assert {n for n, e in found.items() if e.status != "not_checked"} == {
        "served",
        "key_spend",
        "spend_by_row",
    }
    assert "worker 0 ended: its counters are those of its last scrape, 0.25 s before" in (
        found["requests"].reason
    )
    assert found["unanswered"].reason.endswith("without an answer: refused 4")


def _redis_misses(n: int) -> tuple[Series, float]:
    labels = {"tier": "redis", "op": "load", "outcome": "miss"}
    return series("authcache_lookups_total", n, object="key", key_scope="team", **labels)


def _reads(n: int) -> tuple[Series, float]:
    return series("authcache_source_reads_total", n, object="key", reason="miss", key_scope="team")


LOST: tuple[tuple[str, str, dict[str, Any], set[str]], ...] = (
    ("completed without an answer", "redis-hang", {"more": (_requests(102),)}, set()),
    ("more completed than that", "redis-hang", {"more": (_requests(104),)}, {"requests"}),
    ("fewer completed than answered", "redis-hang", {"more": (_requests(99),)}, {"requests"}),
    (
        "one by another status",
        "redis-hang",
        {"more": (_requests(99), _requests(1, "503"))},
        {"requests"},
    ),
    ("spend of what was unanswered", "redis-hang", {"spend": {"key": {"k0": 25_750}}}, set()),
    ("more spend than that", "redis-hang", {"spend": {"key": {"k0": 25_751}}}, {"key_spend"}),
    ("lost spend", "redis-hang", {"spend": {"key": {"k0": 24_999}}}, {"key_spend"}),
    (
        "a read that failed and ran",
        "postgres-slow",
        {
            "more": (series("authcache_source_read_errors_total", 1, object="key"),),
            "calls": {ObjectKind.KEY: 6},
        },
        set(),
    ),
    ("a statement nothing sent", "postgres-slow", {"calls": {ObjectKind.KEY: 7}}, {"statements"}),
    ("three reads that were given up", "postgres-slow", {"calls": {ObjectKind.KEY: 3}}, set()),
    ("four that never ran", "postgres-slow", {"calls": {ObjectKind.KEY: 2}}, {"statements"}),
    (
        "misses that were given up before Redis was asked",
        "postgres-hang",
        {"more": (_redis_misses(0),)},
        set(),
    ),
    (
        "more Redis lookups than misses",
        "postgres-hang",
        {"more": (_redis_misses(4),)},
        {"redis_lookups"},
    ),
    (
        "loads that were given up",
        "postgres-hang",
        {"more": (_reads(2),), "calls": {ObjectKind.KEY: 3}},
        set(),
    ),
    (
        "too many loads without a read",
        "postgres-hang",
        {"more": (_reads(1),), "calls": {ObjectKind.KEY: 2}},
        {"source_reads"},
    ),
    (
        "commands that ran and were not counted",
        "postgres-hang",
        {"gets": 9, "redis": {"get": 7, "set": 8}},
        set(),
    ),
    (
        "commands of another client",
        "postgres-hang",
        {"gets": 10, "redis": {"get": 8, "set": 5}},
        {"redis_gets", "redis_writes"},
    ),
    (
        "a command that no server saw",
        "postgres-hang",
        {"gets": 5, "redis": {"get": 3, "set": 5}},
        {"redis_gets", "redis_writes"},
    ),
)


@pytest.mark.parametrize(
    ("what", "changes", "spoiled"), [one[1:] for one in LOST], ids=[one[0] for one in LOST]
)
def test_a_slack_has_two_sides(what: str, changes: dict[str, Any], spoiled: set[str]) -> None:
    found = _by_name(what, generator={"unanswered": {"timeout": 3}}, **changes)
    assert {name for name, e in found.items() if e.status == "unbalanced"} == spoiled


@pytest.mark.parametrize(
    ("what", "kind"), [("redis-poison", "finding"), ("redis-flush", "validity")]
)
def test_what_poison_is_taken_for_is_a_finding_about_the_variant(what: str, kind: str) -> None:
    one = evidence().generator.keys[0].model_copy(update={"named": {"key": 99}})
    served = _by_name(what, generator={"keys": [one]})["served"]
    assert (served.status, served.kind) == ("unbalanced", kind)


def test_an_answer_5xx_is_a_request_that_was_given_up() -> None:
    failed = {"team": {"200": 100, "503": 3}}
    found = _by_name(
        "postgres-hang",
        generator={"statuses": failed},
        more=(_redis_misses(0), _requests(3, "503")),
    )
    assert found["redis_lookups"].status == "balanced"
    few = {"team": {"200": 100, "503": 2}}
    more = (_redis_misses(0), _requests(2, "503"))
    found = _by_name("postgres-hang", generator={"statuses": few}, more=more)
    assert found["redis_lookups"].status == "unbalanced"


def test_lost_spend_is_a_finding_about_the_variant_and_spoils_no_run() -> None:
    lost = _by_name("postgres-kill", spend={"key": {"k0": 24_000}})
    assert (lost["key_spend"].kind, lost["key_spend"].residual) == ("finding", 1_000)
    assert ledger(list(lost.values())).balanced
    # In any other window it does.
    assert not ledger(reconcile(evidence(spend={"key": {"k0": 24_000}}))).balanced


@pytest.mark.parametrize(("loads", "status"), [(103, "balanced"), (104, "unbalanced")])
def test_a_request_without_an_answer_may_have_looked_its_objects_up(
    loads: int, status: str
) -> None:
    one = {"op": "load", "object": "key", "key_scope": "team"}
    found = _by_name(
        "redis-hang",
        generator={"unanswered": {"timeout": 3}},
        paths={0: KeyPath("team", {"key": "k0"}, {("key", "load"): 1})},
        more=(
            series("authcache_lookups_asked_total", loads, **one),
            series("authcache_lookups_total", loads - 10, tier="memory", outcome="hit", **one),
        ),
    )
    assert found["memory"].status == status


@pytest.mark.parametrize(
    ("reads", "status"), [(0, "unbalanced"), (1, "balanced"), (3, "balanced"), (5, "unbalanced")]
)
def test_a_read_for_the_log_may_belong_to_a_request_without_an_answer(
    reads: int, status: str
) -> None:
    direct = series(
        "authcache_source_reads_total", reads, object="key", reason="direct", key_scope="team"
    )
    found = _by_name(
        "redis-hang",
        generator={
            "unanswered": {"timeout": 3},
            "statuses": {"team": {"200": 100, "401": 1}},
        },
        reads_again=frozenset({401}),
        more=(direct, _requests(1, "401")),
        calls={ObjectKind.KEY: 6 + reads},
    )
    assert found["direct"].status == status
