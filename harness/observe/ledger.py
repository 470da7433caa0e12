"""The ledger: what generator, replicas, Redis and Postgres each counted, reconciled.

The equations are one table, from which the report and the table in docs/method.md are made
(`make docs`). An equation of kind ``validity`` that does not balance makes the run invalid; a
``finding`` describes the variant. An equation that cannot be counted is ``not_checked``, with its
reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.authcache.words import ObjectKind
from harness.domain.result import Equation, Ledger
from harness.domain.series import (
    CHAT,
    LOOKUPS,
    OTHER_STATUS,
    READ_ERRORS,
    READS,
    REDIS_GETS,
    REQUESTS,
    STATUSES,
    WAITS,
)
from harness.observe.evidence import Evidence

_NAMED = frozenset(map(str, STATUSES))

Sides = tuple[float, float, float]
"""Left, right, residual."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One equation of the ledger."""

    name: str
    description: str
    kind: Literal["validity", "finding"]
    counted_by: str
    """The party that counts both sides, or those of the left and the right side."""
    sides: Callable[[Evidence], Sides]
    not_checked: Callable[[Evidence], str] = lambda _: ""
    """Why it cannot be checked in a window; empty when it can."""


def _difference(left: float, right: float) -> Sides:
    return left, right, left - right


def _requests(e: Evidence) -> Sides:
    sent: dict[tuple[str, ...], float] = {}
    for scope, statuses in e.generator.statuses.items():
        for status, n in statuses.items():
            # Replicas count the usual statuses by name, and all others together.
            pair = (scope, status if status in _NAMED else OTHER_STATUS)
            sent[pair] = sent.get(pair, 0.0) + n
    done = e.counted.by(REQUESTS, "key_scope", "status", **CHAT)
    residual = sum(abs(sent.get(pair, 0) - done.get(pair, 0)) for pair in {*sent, *done})
    return sum(sent.values()), sum(done.values()), residual


def _unanswered(e: Evidence) -> Sides:
    return _difference(float(sum(e.generator.unanswered.values())), 0.0)


def _redis_lookups(e: Evidence) -> Sides:
    asked = e.counted.sum(LOOKUPS, tier="redis")
    if not e.has_redis:
        return _difference(asked, 0.0)
    misses = e.counted.sum(LOOKUPS, tier="memory", outcome="miss")
    return _difference(asked, misses - e.counted.sum(WAITS, stage="before_redis"))


def _gets(e: Evidence) -> Sides:
    assert e.redis is not None
    return _difference(e.counted.sum(REDIS_GETS), float(e.redis.keys_read))


def _source_reads(e: Evidence) -> Sides:
    c = e.counted
    memory = c.sum(LOOKUPS, tier="memory", op="load") - c.sum(
        LOOKUPS, tier="memory", op="load", outcome="hit"
    )
    redis_hits = c.sum(LOOKUPS, tier="redis", op="load", outcome="hit")
    unasked = c.sum(READS, reason="refresh") + c.sum(READS, reason="direct")
    return _difference(c.sum(READS), memory - redis_hits - c.sum(WAITS) + unasked)


def _statements(e: Evidence) -> Sides:
    assert e.statements is not None
    reads = {kind: e.counted.sum(READS, object=kind) for kind in ObjectKind}
    errors = {kind: e.counted.sum(READ_ERRORS, object=kind) for kind in ObjectKind}
    calls = {kind: e.statements[kind].calls for kind in ObjectKind}
    # Object by object: two mistakes of opposite sign must not balance each other.
    residual = sum(abs(reads[kind] - errors[kind] - calls[kind]) for kind in ObjectKind)
    left = sum(reads.values()) - sum(errors.values())
    return left, float(sum(calls.values())), residual


def _key_spend(e: Evidence) -> Sides:
    return _difference(float(e.generator.cost_micro), float(e.spend_micro[ObjectKind.KEY]))


def _no_redis_count(e: Evidence) -> str:
    if not e.has_redis:
        return "the variant has no Redis tier"
    return "" if e.redis is not None else e.not_counted.get("redis", "Redis is not the fleet's own")


def _no_statement_count(e: Evidence) -> str:
    if e.statements is not None:
        return ""
    return e.not_counted.get("postgres", "Postgres has no pg_stat_statements")


RULES: tuple[Rule, ...] = (
    Rule(
        "requests",
        "requests answered = requests that the replicas completed, scope by scope and status by "
        "status",
        "validity",
        "generator = replicas",
        _requests,
    ),
    Rule("unanswered", "requests without an answer = 0", "validity", "generator", _unanswered),
    Rule(
        "redis_lookups",
        "Redis lookups = memory misses - lookups that waited before Redis (0 without a Redis tier)",
        "validity",
        "replicas",
        _redis_lookups,
    ),
    Rule(
        "redis_gets",
        "keys that the clients asked Redis for (GET, SET GET) = keys read, as the fleet's Redis "
        "counted them",
        "validity",
        "replicas = Redis",
        _gets,
        _no_redis_count,
    ),
    Rule(
        "source_reads",
        "source reads = loads that no tier answered - loads that took another's answer + refreshes "
        "+ reads that no lookup came before",
        "validity",
        "replicas",
        _source_reads,
    ),
    Rule(
        "statements",
        "source reads - source read errors = calls in pg_stat_statements, object by object",
        "validity",
        "replicas = Postgres",
        _statements,
        _no_statement_count,
    ),
    Rule(
        "key_spend",
        "cost of the 2xx replies = spend of the keys in Postgres, in micro-units",
        "validity",
        "generator = Postgres",
        _key_spend,
    ),
)
"""All equations, in the order of the report."""


def reconcile(evidence: Evidence) -> list[Equation]:
    """Every equation of one window."""
    return [_check(rule, evidence) for rule in RULES]


def ledger(equations: list[Equation]) -> Ledger:
    """The ledger of a run: balanced when validity equations were checked and all of them hold."""
    statuses = {e.status for e in equations if e.kind == "validity"} - {"not_checked"}
    balanced = "unbalanced" not in statuses if statuses else None
    return Ledger(balanced=balanced, equations=equations)


def _check(rule: Rule, evidence: Evidence) -> Equation:
    reason = evidence.not_checked.get(rule.name) or rule.not_checked(evidence)
    left = right = residual = None
    status: Literal["balanced", "unbalanced", "not_checked"] = "not_checked"
    if not reason:
        left, right, residual = rule.sides(evidence)
        status = "balanced" if residual == 0 else "unbalanced"
    return Equation(
        name=rule.name,
        variant=evidence.variant,
        window=evidence.name,
        description=rule.description,
        left=left,
        right=right,
        residual=residual,
        status=status,
        kind="finding" if rule.name in evidence.findings else rule.kind,
        reason=reason,
    )
