"""Every equation balances when it should, and each is shown to be able to fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.authcache.words import ObjectKind
from harness.domain.result import Equation
from harness.domain.window import KeyCount
from harness.observe.counters import Series
from harness.observe.ledger import RULES, ledger, reconcile
from harness.targets.base import KeyPath
from tests.observe.build import BALANCED, NO_SPEND, evidence, logged, series


def _by_name(**changes: Any) -> dict[str, Equation]:
    return {equation.name: equation for equation in reconcile(evidence(**changes))}


def test_a_whole_window_balances() -> None:
    equations = _by_name()
    assert {e.status for e in equations.values()} == {"balanced"}
    assert ledger(list(equations.values())).balanced
    assert set(equations) == {rule.name for rule in RULES}


EXTRA_GET = series("authcache_redis_gets_total", 5, purpose="lookup")
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


def _one(**changes: Any) -> dict[str, Any]:
    """The generator, whose one key came to something else."""
    key = evidence().generator.keys[0]
    return {"generator": {"keys": [key.model_copy(update=changes)]}}


def _failed(n: int, logged: str) -> tuple[Series, float]:
    return series("authcache_failed_reads_total", n, object="key", logged=logged, key_scope="team")


PAIR = series(
    "authcache_log_records_total",
    2,
    level="error",
    signature="typed_read_failed",
    key_scope="team",
)
HALF_OF_THE_HITS = series(
    "authcache_lookups_total",
    45,
    tier="memory",
    op="load",
    outcome="hit",
    object="key",
    key_scope="team",
)
ANOTHERS_LOOKUP = (
    series("authcache_lookups_asked_total", 1, op="load", object="user", key_scope="team"),
    series("authcache_lookups_asked_total", 99, op="load", object="key", key_scope="team"),
)
DIRECT = series("authcache_source_reads_total", 1, object="user", reason="direct", key_scope="team")
PLANTS: tuple[tuple[str, dict[str, Any], set[str]], ...] = (
    (
        "a surplus request",
        {"generator": {"statuses": {"team": {"200": 99}}}},
        {"requests", "served"},
    ),
    (
        "another scope",
        {"generator": {"statuses": {"user": {"200": 100}}}},
        {"requests", "served"},
    ),
    ("another status", {"more": (OTHER_STATUS,)}, {"requests"}),
    (
        "a request of another status that no replica saw",
        {"generator": {"statuses": {"team": {"200": 100, "401": 1}}}},
        {"requests"},
    ),
    ("no answer", {"generator": {"unanswered": {"timeout": 1}}}, {"unanswered"}),
    ("a Redis lookup without a memory miss", {"more": (EXTRA_REDIS,)}, {"redis_lookups"}),
    ("a GET that Redis did not see", {"more": (EXTRA_GET,)}, {"redis_gets"}),
    ("a GET that no client counted", {"gets": 7}, {"redis_gets"}),
    ("a read that no lookup called for", {"more": (EXTRA_READ,)}, {"source_reads", "statements"}),
    ("a read that is not in the log", {"reads": logged(5)}, {"reads_by_scope"}),
    ("a logged read that is not counted", {"reads": logged(7)}, {"reads_by_scope"}),
    (
        "a logged read of another object",
        {"reads": (*logged(5), *logged(1, "user"))},
        {"reads_by_scope"},
    ),
    (
        "logged reads of another scope",
        {"reads": (*logged(4), *logged(2, scope="user"))},
        {"reads_by_scope"},
    ),
    (
        "a logged read of no scope",
        {"reads": (*logged(5), *logged(1, scope="unknown"))},
        {"reads_by_scope"},
    ),
    ("a statement that no worker counted", {"calls": {ObjectKind.KEY: 7}}, {"statements"}),
    (
        "two objects' mistakes of opposite sign",
        {"calls": {ObjectKind.KEY: 5, ObjectKind.USER: 1}},
        {"statements"},
    ),
    # Plant 5, and its two relatives.
    ("a reply without a header", _one(named={"key": 99}), {"served"}),
    ("a reply that names another object", _one(named={"key": 100, "user": 1}), {"served"}),
    ("a reply under no key", _one(admitted=99, named={"key": 99}), {"served"}),
    # Plant 3: 45 memory hits are not counted; loads without an outcome look like hits to the rest.
    ("half of the memory hits", {"more": (HALF_OF_THE_HITS,)}, {"memory"}),
    ("a lookup under another object", {"more": ANOTHERS_LOOKUP}, {"memory"}),
    # Plant 12, and what no pattern of an object's statement looks like.
    ("a WITH query", {"others": {"WITH u AS (SELECT …": 100}}, {"all_statements"}),
    ("a statement that Postgres discarded", {"others": {"gone": -1, "new": 1}}, {"all_statements"}),
    # Plant 14: through the worker's own client, and past it.
    (
        "ten more SETs a request",
        {
            "redis": {"set": 1005},
            "more": (series("authcache_redis_sent_total", 1005, command="set"),),
        },
        {"redis_writes"},
    ),
    ("SETs of another client", {"redis": {"set": 6}}, {"redis_writes"}),
    ("a DEL that no worker counted", {"redis": {"del": 1}}, {"redis_writes"}),
    (
        "a SETEX in place of a SET",
        {"redis": {"set": 4, "setex": 1}},
        {"redis_writes"},
    ),
    (
        "a claim that is not counted",
        {"more": (series("authcache_redis_gets_total", 1, purpose="claim"),), "gets": 5},
        {"redis_writes"},
    ),
    (
        "a read that no lookup came before",
        {"more": (DIRECT,), "calls": {ObjectKind.KEY: 6, ObjectKind.USER: 1}},
        {"direct"},
    ),
    (
        "a typed read that is not logged",
        {"more": (_failed(0, "nothing"), _failed(2, "pair"))},
        {"pairs"},
    ),
    ("a record of a read that did not fail", {"more": (PAIR,)}, {"pairs"}),
    ("a failure that is counted as none", {"more": (_failed(1, "nothing"),)}, {"pairs"}),
    # Plants 20, 9, 8 and 10.
    ("a lost millionth", {"spend": {"key": {"k0": 24_999}}}, {"key_spend"}),
    ("another key is billed", {"spend": {"key": {"k0": 0, "k1": 25_000}}}, {"key_spend"}),
)


@pytest.mark.parametrize(
    ("changes", "spoiled"),
    [plant[1:] for plant in PLANTS],
    ids=[plant[0] for plant in PLANTS],
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


def test_a_read_before_the_key_was_known_is_counted_under_no_scope() -> None:
    unknown = series(
        "authcache_source_reads_total", 1, object="key", reason="miss", key_scope="unknown"
    )
    reads = {"more": (unknown,), "calls": {ObjectKind.KEY: 7}}
    assert _by_name(**reads, reads=logged(7))["reads_by_scope"].status == "balanced"
    assert _by_name(**reads, reads=logged(6))["reads_by_scope"].residual == 1
    assert _by_name(**reads, reads=logged(8))["reads_by_scope"].residual == 1


def test_without_a_log_reads_are_not_reconciled_by_object() -> None:
    equation = _by_name(reads=None)["reads_by_scope"]
    assert (equation.status, equation.left) == ("not_checked", None)


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
        *(
            series("authcache_lookups_asked_total", 8, op="peek", object="team"),
            series("authcache_redis_gets_total", 7, purpose="lookup"),
            series("authcache_redis_sent_total", 7, command="get"),
        ),
    )
    equations = _by_name(more=peeks, gets=9, redis={"get": 7})
    assert {equation.status for equation in equations.values()} == {"balanced"}


def test_what_was_not_counted_says_so_even_where_no_one_gave_a_reason() -> None:
    window = evidence(gets=None)
    window = replace(window, after=replace(window.after, statements=None))
    reasons = {e.name: e.reason for e in reconcile(window) if e.status == "not_checked"}
    assert reasons == {
        "redis_gets": "Redis is not the fleet's own",
        "redis_writes": "Redis is not the fleet's own",
        "statements": "Postgres has no pg_stat_statements",
        "all_statements": "Postgres has no pg_stat_statements",
    }


def test_an_unbalanced_equation_says_by_how_much() -> None:
    spend = _by_name(spend={"key": {"k0": 24_990}})["key_spend"]
    assert (spend.left, spend.right, spend.residual) == (25_000, 24_990, 10)
    assert spend.reason == "key -10 in 1 place"


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


@pytest.mark.parametrize(
    ("named", "counts", "kind"),
    [
        ({"key": 99}, True, "finding"),  # releases are known to leave some out
        ({}, True, "validity"),  # but not all
        ({}, False, "finding"),  # a point is missing: the cell is not measured for that
    ],
)
def test_replies_that_name_nothing_at_all_are_no_finding_about_a_release(
    named: dict[str, int], *, counts: bool, kind: str
) -> None:
    point = series("authcache_instrumented", counts, point="auth_cache", reason="")
    found = _by_name(more=(point,), findings=frozenset({"served"}), **_one(named=named))["served"]
    assert (found.status, found.kind) == ("unbalanced", kind)


def test_spend_that_a_release_loses_is_a_finding_about_it() -> None:
    less = {"key": {"k0": 24_000}}
    lost = _by_name(spend=less, findings=frozenset({"key_spend"}))
    assert lost["key_spend"].status == "unbalanced"
    assert lost["key_spend"].kind == "finding"
    assert ledger(list(lost.values())).balanced
    assert not ledger(list(_by_name(spend=less).values())).balanced


def test_a_read_that_no_lookup_came_before_stands_on_one_side_and_goes_by_its_object() -> None:
    calls = {ObjectKind.KEY: 6, ObjectKind.USER: 1}
    equations = _by_name(more=(DIRECT,), calls=calls, findings=frozenset({"direct"}))
    assert equations["source_reads"].status == "balanced"
    assert equations["statements"].status == "balanced"
    direct = equations["direct"]
    assert (direct.status, direct.kind, direct.reason) == ("unbalanced", "finding", "user +1")


def test_a_refusal_is_read_again_for_the_log_where_the_target_does_so() -> None:
    read = series(
        "authcache_source_reads_total", 1, object="key", reason="direct", key_scope="team"
    )
    refused = {
        "generator": {"statuses": {"team": {"200": 100, "401": 1}}},
        "more": (OTHER_STATUS, read),
        "calls": {ObjectKind.KEY: 7},
    }
    assert _by_name(**refused, reads_again=frozenset({401}))["direct"].status == "balanced"
    assert _by_name(**refused)["direct"].status == "unbalanced"
    refused["more"], refused["calls"] = (OTHER_STATUS,), {ObjectKind.KEY: 6}
    assert _by_name(**refused, reads_again=frozenset({401}))["direct"].status == "unbalanced"


@pytest.mark.parametrize(
    ("answered", "admitted", "asks", "status"),
    [
        (100, 100, 1, "balanced"),
        (100, 100, 2, "unbalanced"),
        (99, 99, 1, "unbalanced"),
        (101, 101, 1, "unbalanced"),
        # A request that was refused may have asked, or not.
        (101, 99, 1, "balanced"),
        (102, 101, 1, "unbalanced"),
    ],
)
def test_lookups_are_those_that_the_auth_path_makes(
    answered: int, admitted: int, asks: int, status: str
) -> None:
    changes = _one(answered=answered, admitted=admitted)
    paths = {0: KeyPath("team", {"key": "k0"}, {("key", "load"): asks})}
    assert _by_name(**changes, paths=paths)["memory"].status == status


def test_what_does_not_fit_goes_by_its_name() -> None:
    paths = {0: KeyPath("team", {"key": "k0"}, {("key", "load"): 2})}
    assert _by_name(paths=paths)["memory"].reason == "not called for: key load team -100"
    hits = _by_name(more=(HALF_OF_THE_HITS,))["memory"]
    assert hits.reason == "begun and not ended: key load team +45"
    header = _by_name(**_one(named={"key": 99, "user": 2}))["served"]
    assert header.reason == "key -1 in 1 place, user +2 in 1 place"
    sets = _by_name(redis={"set": 6, "del": 1})["redis_writes"]
    assert sets.reason == "del +1, set +1"
    assert _by_name(more=(EXTRA_READ,))["source_reads"].reason == "key +1"


def test_a_scope_in_which_a_key_cannot_say_what_it_asks_is_left_out() -> None:
    asks = KeyPath("team", {}, {("key", "load"): 7})
    paths = {0: asks, 1: KeyPath("team", {}, None)}
    assert _by_name(paths=paths)["memory"].status == "balanced"
    assert _by_name(paths={0: asks})["memory"].status == "unbalanced"


OWNERS = KeyPath("member", {"key": "k0", "user": "u", "team": "t", "membership": "u/t"})
BILLED = {"user": {"u": 25_000}, "team": {"t": 25_000}, "membership": {"u/t": 25_000}}


@pytest.mark.parametrize("kind", BILLED)
def test_every_owners_row_is_held_against_the_replies(kind: str) -> None:
    paths = {0: OWNERS}
    assert _by_name(paths=paths, spend=BILLED)["spend_by_row"].status == "balanced"
    for rows in ({}, {"previous": 25_000}):
        lost = _by_name(paths=paths, spend=BILLED | {kind: rows})["spend_by_row"]
        assert (lost.status, lost.kind) == ("unbalanced", "validity")
        assert lost.reason == (f"{kind} {'+0 in 2 places' if rows else '-25,000 in 1 place'}")


def test_only_what_the_target_is_known_to_lose_is_a_finding() -> None:
    losing: dict[str, Any] = {"paths": {0: OWNERS}, "loses_spend": frozenset({ObjectKind.USER})}
    user = _by_name(spend=BILLED | {"user": {}}, **losing)["spend_by_row"]
    assert (user.status, user.kind) == ("unbalanced", "finding")
    team = _by_name(spend=BILLED | {"team": {}}, **losing)["spend_by_row"]
    assert (team.status, team.kind) == ("unbalanced", "validity")


def test_rows_that_keys_share_are_due_the_sum() -> None:
    key = evidence().generator.keys[0].model_copy(update={"cost_micro": 100})
    keys = [key, key.model_copy(update={"key_index": 1, "admitted": 0, "named": {}})]
    paths = {
        0: KeyPath("team", {"key": "k0", "team": "t"}),
        1: KeyPath("team", {"key": "k1", "team": "t"}),
    }
    spend = {"key": {"k0": 100, "k1": 100}, "team": {"t": 200}}
    equations = _by_name(generator={"keys": keys}, paths=paths, spend=spend)
    assert {e.status for e in equations.values()} == {"balanced"}


def test_what_a_target_does_not_name_goes_by_its_text() -> None:
    others = {"WITH x AS …": 3, "select 1": 2}
    found = _by_name(others=others)["all_statements"]
    assert (found.left, found.right, found.residual) == (19, 14, 5)
    assert found.reason == "WITH x AS … +3, select 1 +2"


def test_every_rule_says_what_it_cannot_see() -> None:
    assert all(rule.cannot_see for rule in RULES)


CHAT = {"route": "/v1/chat/completions"}


def _seen(scope: str, status: str, n: int) -> tuple[Series, float]:
    return series("http_requests_total", n, **CHAT, status=status, key_scope=scope)


@pytest.mark.parametrize(("unknown", "status"), [(40, "balanced"), (39, "unbalanced")])
def test_a_replica_knows_no_scope_of_a_key_that_was_deleted(unknown: int, status: str) -> None:
    statuses = {"team": {"200": 60, "401": 40}}
    counted = (_seen("team", "200", 60), _seen("unknown", "401", unknown))
    changes: dict[str, Any] = {"generator": {"statuses": statuses}, "more": counted}
    assert _by_name(phase="changes", **changes)["requests"].status == status
    assert _by_name(**changes)["requests"].status == "unbalanced"


@pytest.mark.parametrize(
    ("start", "end", "status"),
    [
        ({"k0": 5}, {"k0": 25_005}, "balanced"),
        ({"k0": 5}, {"k0": 25_004}, "unbalanced"),
        ({"k0": 5}, {}, "balanced"),
        ({}, {"k0": 7}, "balanced"),
    ],
)
def test_spend_of_a_row_that_came_or_went_is_left_out(
    start: dict[str, int], end: dict[str, int], status: str
) -> None:
    window = evidence(phase="changes")
    window = replace(
        window,
        before=replace(window.before, spend={**NO_SPEND, ObjectKind.KEY: start}),
        after=replace(window.after, spend={**NO_SPEND, ObjectKind.KEY: end}),
    )
    found = {equation.name: equation for equation in reconcile(window)}
    assert found["key_spend"].status == status


@pytest.mark.parametrize(("stays", "status"), [(True, "unbalanced"), (False, "balanced")])
def test_lookups_are_fewer_where_a_row_came_or_went(stays: bool, status: str) -> None:
    # Two lookups of the key are called for, and one was made.
    path = KeyPath("team", {"key": "k0"}, {("key", "load"): 2})
    window = evidence(phase="changes", paths={0: path})
    rows = {**NO_SPEND, ObjectKind.KEY: {"k0": 0}}
    window = replace(window, before=replace(window.before, spend=rows))
    if not stays:
        window = replace(window, after=replace(window.after, spend=NO_SPEND))
    assert {e.name: e.status for e in reconcile(window)}["memory"] == status


def test_rules_that_become_another_in_a_window_of_changes_say_so() -> None:
    changed = {rule.name for rule in RULES if rule.in_changes}
    assert changed == {"requests", "memory", "key_spend", "spend_by_row"}


@pytest.mark.parametrize(("loads", "status"), [(40, "balanced"), (41, "unbalanced")])
def test_a_deleted_key_is_looked_up_under_no_scope_as_often_as_it_is_refused(
    loads: int, status: str
) -> None:
    unknown = {"op": "load", "object": "key", "key_scope": "unknown"}
    one = KeyCount(
        scope="team", key_index=0, answered=140, admitted=100, cost_micro=25_000, named={"key": 100}
    )
    found = _by_name(
        phase="changes",
        paths={0: KeyPath("team", {"key": "k0"}, {("key", "load"): 1})},
        generator={"keys": [one]},
        more=(
            series("authcache_lookups_asked_total", loads, **unknown),
            series("authcache_lookups_total", loads, tier="memory", outcome="miss", **unknown),
        ),
    )
    assert found["memory"].status == status
