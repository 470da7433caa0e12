"""The ledger: what generator, replicas, Redis and Postgres each counted, reconciled.

The equations are one table, from which the report and the table in docs/method.md are made
(`make docs`). An equation of kind ``validity`` that does not balance makes the run invalid; a
``finding`` describes the variant. An equation that cannot be counted is ``not_checked``, with its
reason. In a window of changes, objects appear and vanish under load: `Rule.in_changes` says what an
equation becomes there. In a window of a fault each holds, holds within a slack that it names, or
is not checked: `Rule.in_fault`. The window after a fault is like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.authcache.words import KeyScope, ObjectKind, ReadReason
from harness.domain.faults import FAULTS
from harness.domain.result import Equation, Ledger
from harness.domain.series import (
    ASKED,
    CHAT,
    FAILED_READS,
    FAILURE,
    INSTRUMENTED,
    LOG_PAIR,
    LOGS,
    LOOKUPS,
    OTHER_STATUS,
    READ_ERRORS,
    READS,
    REDIS_GETS,
    REDIS_SENT,
    REQUESTS,
    STATUSES,
    WAITS,
    WRITES,
)
from harness.observe.evidence import Evidence

_NAMED = frozenset(map(str, STATUSES))
_LOOKUP = ("object", "op", "key_scope")
"""The labels that distinguish lookups."""
_DIRECT = ReadReason.DIRECT.value
_WITHOUT_LOOKUP = (_DIRECT, ReadReason.SEED.value)
"""Reasons of reads that follow no lookup."""
_OWNERS = (ObjectKind.USER, ObjectKind.TEAM, ObjectKind.MEMBERSHIP)
_SETS = frozenset({"set", "setex", "psetex", "setnx", "getset", "mset", "msetnx"})

Sides = tuple[float, float, float]
"""Left, right, residual."""


@dataclass(frozen=True, slots=True)
class InFault:
    """What an equation becomes in a window of a fault, before it to after it."""

    says: str
    """For people: ``the same``, the slack, or why it is not checked."""
    sides: Callable[[Evidence], Sides] | None = None
    """With a residual that leaves the slack out; None where the sides are the ordinary ones."""
    not_checked: Callable[[Evidence], str] = lambda _: ""
    """Why it cannot be checked after a fault; empty when it can."""
    finding: Callable[[Evidence], bool] = lambda _: False
    """Whether it describes the variant where it does not hold: what a fault may cost."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One equation of the ledger."""

    name: str
    description: str
    kind: Literal["validity", "finding"]
    counted_by: str
    """The party that counts both sides, or those of the left and the right side."""
    cannot_see: str
    """A fault of its kind that leaves it balanced."""
    sides: Callable[[Evidence], Sides]
    in_fault: InFault
    not_checked: Callable[[Evidence], str] = lambda _: ""
    """Why it cannot be checked in a window; empty when it can."""
    details: Callable[[Evidence], str] = lambda _: ""
    """What does not fit, by name."""
    in_changes: str = ""
    """What it becomes in a window of changes; empty where it is the same."""
    excused: Callable[[Evidence], bool] = lambda _: False
    """Whether the target is known for what does not fit, which makes it a finding about it."""
    unexcused: Callable[[Evidence], bool] = lambda _: False
    """Whether no target is known for what does not fit, whatever its findings."""


def _difference(left: float, right: float) -> Sides:
    return left, right, left - right


def _by_part(left: Mapping[Any, float], right: Mapping[Any, float]) -> Sides:
    """Part by part: two mistakes of opposite sign must not balance each other."""
    off = sum(abs(left.get(part, 0.0) - right.get(part, 0.0)) for part in {*left, *right})
    return float(sum(left.values())), float(sum(right.values())), float(off)


def _apart(differences: Iterable[float]) -> tuple[float, float]:
    """What is missing and what is too much, each added up."""
    both = list(differences)
    return float(-sum(n for n in both if n < 0)), float(sum(n for n in both if n > 0))


def _beyond(value: float, most: float) -> float:
    return max(0.0, value - most)


def _no_answer(e: Evidence) -> int:
    return sum(e.generator.unanswered.values())


def _given_up(e: Evidence) -> int:
    """Requests that may have ended amid a lookup: without an answer, or answered 5xx."""
    failed = sum(
        n
        for statuses in e.generator.statuses.values()
        for status, n in statuses.items()
        if status.startswith("5")
    )
    return _no_answer(e) + failed


def _requests(e: Evidence) -> Sides:
    sent, done = _sent_and_done(e)
    if e.rows_move:
        # A replica knows the scope of a key only while it knows the key.
        return _by_part(_without_scope(sent), _without_scope(done))
    return _by_part(sent, done)


def _requests_or_lost(e: Evidence) -> Sides:
    """Replicas may have completed, by any status, what the generator got no answer to."""
    sent, done = map(_without_scope, _sent_and_done(e))
    more = {status: done.get(status, 0.0) - sent.get(status, 0.0) for status in {*sent, *done}}
    missing, surplus = _apart(more.values())
    return sum(sent.values()), sum(done.values()), missing + _beyond(surplus, _no_answer(e))


def _sent_and_done(
    e: Evidence,
) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """Requests by scope and status: answered at the generator, completed by replicas."""
    sent: dict[tuple[str, ...], float] = {}
    for scope, statuses in e.generator.statuses.items():
        for status, n in statuses.items():
            # Replicas count the usual statuses by name, and all others together.
            pair = (scope, status if status in _NAMED else OTHER_STATUS)
            sent[pair] = sent.get(pair, 0.0) + n
    return sent, e.counted.by(REQUESTS, "key_scope", "status", **CHAT)


def _without_scope(counts: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for (_, status), n in counts.items():
        sums[status] = sums.get(status, 0.0) + n
    return sums


def _unanswered(e: Evidence) -> Sides:
    return _difference(float(_no_answer(e)), 0.0)


def _redis_lookups(e: Evidence) -> Sides:
    asked = e.counted.sum(LOOKUPS, tier="redis")
    if not e.has_redis:
        return _difference(asked, 0.0)
    misses = e.counted.sum(LOOKUPS, tier="memory", outcome="miss")
    return _difference(asked, misses - e.counted.sum(WAITS, stage="before_redis"))


def _redis_lookups_or_given_up(e: Evidence) -> Sides:
    asked, called_for, _ = _redis_lookups(e)
    off = _beyond(asked, called_for) + _beyond(called_for - asked, _given_up(e))
    return asked, called_for, off


def _redis_gets_or_given_up(e: Evidence) -> Sides:
    sent, counted, _ = _redis_gets(e)
    return sent, counted, _beyond(sent, counted) + _beyond(counted - sent, _given_up(e))


def _redis_gets(e: Evidence) -> Sides:
    assert e.redis is not None
    return _difference(e.counted.sum(REDIS_GETS), float(e.redis.keys_read))


def _source_reads(e: Evidence) -> Sides:
    return _by_part(*_reads_and_loads(e))


def _source_reads_or_given_up(e: Evidence) -> Sides:
    reads, loads = _reads_and_loads(e)
    more = [reads.get(kind, 0.0) - loads.get(kind, 0.0) for kind in {*reads, *loads}]
    missing, surplus = _apart(more)
    return sum(reads.values()), sum(loads.values()), surplus + _beyond(missing, _given_up(e))


def _reads_and_loads(e: Evidence) -> tuple[dict[str, float], dict[str, float]]:
    """Reads after a lookup, and loads and refreshes that called for one, by object."""
    c = e.counted
    reads: dict[str, float] = {}
    loads: dict[str, float] = {}
    for kind in ObjectKind:
        asked = c.sum(LOOKUPS, tier="memory", op="load", object=kind)
        hits = c.sum(LOOKUPS, op="load", outcome="hit", object=kind)
        refreshed = c.sum(READS, reason="refresh", object=kind)
        reads[kind] = c.sum(READS, object=kind)
        for reason in _WITHOUT_LOOKUP:
            reads[kind] -= c.sum(READS, reason=reason, object=kind)
        loads[kind] = asked - hits - c.sum(WAITS, object=kind) + refreshed
    return reads, loads


def _direct(e: Evidence) -> Sides:
    replies = sum(
        n
        for statuses in e.generator.statuses.values()
        for status, n in statuses.items()
        if int(status) in e.reads_again
    )
    return _by_part(_direct_reads(e), {ObjectKind.KEY.value: float(replies)})


def _direct_or_lost(e: Evidence) -> Sides:
    """A read for the log may belong to a request that got no answer."""
    left, right, _ = _direct(e)
    other = sum(n for kind, n in _direct_reads(e).items() if kind != ObjectKind.KEY)
    off = other + _beyond(right, left) + _beyond(left - other, right + _no_answer(e))
    return left, right, off


def _direct_reads(e: Evidence) -> dict[str, float]:
    return {kind: n for (kind,), n in e.counted.by(READS, "object", reason=_DIRECT).items()}


def _reads_by_scope(e: Evidence) -> Sides:
    assert e.reads is not None
    counted = e.counted.by(READS, "key_scope", "object")
    logged = Counter((read.scope, read.kind) for read in e.reads)
    residual = 0.0
    for kind in ObjectKind:
        more = {
            scope: logged[scope, kind] - counted.get((scope, kind), 0.0)
            for scope in KeyScope
            if scope != KeyScope.UNKNOWN
        }
        # A worker counts a read under scope unknown if its request ended before the key was known.
        # The log knows the scope all the same, so only the sum over the scopes must agree.
        unknown = (KeyScope.UNKNOWN, kind)
        surplus = sum(n for n in more.values() if n > 0) + logged[unknown]
        residual += abs(surplus - counted.get(unknown, 0.0))
        residual -= sum(n for n in more.values() if n < 0)
    return float(len(e.reads)), sum(counted.values()), residual


def _statements(e: Evidence) -> Sides:
    assert e.statements is not None
    sent = {
        kind: e.counted.sum(READS, object=kind) - e.counted.sum(READ_ERRORS, object=kind)
        for kind in ObjectKind
    }
    return _by_part(sent, {kind: e.statements.reads[kind].calls for kind in ObjectKind})


def _statements_or_late(e: Evidence) -> Sides:
    """A read that failed for its caller may have run all the same.

    One whose request was given up may be counted, and may never have been sent.
    """
    assert e.statements is not None
    left = right = off = unsent = 0.0
    for kind in ObjectKind:
        sent, failed = e.counted.sum(READS, object=kind), e.counted.sum(READ_ERRORS, object=kind)
        calls = e.statements.reads[kind].calls
        left, right = left + sent - failed, right + calls
        unsent += _beyond(sent - failed, calls)
        off += _beyond(calls, sent)
    return left, right, off + _beyond(unsent, _given_up(e))


def _all_statements(e: Evidence) -> Sides:
    assert e.statements is not None
    reads = sum(count.calls for count in e.statements.reads.values())
    known = float(reads + sum(e.statements.named.values()))
    unknown = e.statements.unnamed.values()
    return known + sum(unknown), known, float(sum(map(abs, unknown)))


def _redis_writes(e: Evidence) -> Sides:
    assert e.redis is not None
    c, calls = e.counted, e.redis.calls
    written = c.sum(WRITES, tier="redis", outcome="ok") + c.sum(REDIS_GETS, purpose="claim")
    sets = float(sum(n for name, n in calls.items() if name in _SETS))
    sent = {command: n for (command,), n in c.by(REDIS_SENT, "command").items()}
    return written, sets, abs(written - sets) + _by_part(sent, calls)[2]


def _redis_writes_or_given_up(e: Evidence) -> Sides:
    """A command whose request was given up may have been run and not be counted."""
    assert e.redis is not None
    written, sets, _ = _redis_writes(e)
    sent = {command: n for (command,), n in e.counted.by(REDIS_SENT, "command").items()}
    most, off = _given_up(e), 0.0
    for more in (
        sets - written,
        *(e.redis.calls.get(name, 0) - sent.get(name, 0.0) for name in {*sent, *e.redis.calls}),
    ):
        off += _beyond(-more, 0.0) + _beyond(more, most)
    return written, sets, off


def _redis_details(e: Evidence) -> str:
    assert e.redis is not None
    sent = {command: n for (command,), n in e.counted.by(REDIS_SENT, "command").items()}
    return _off(e.redis.calls, sent)


def _served(e: Evidence) -> Sides:
    kinds = _named(e)
    pairs = [pair for kind in kinds.values() for pair in kind]
    off = sum(abs(have - wanted) for wanted, have in pairs)
    admitted: Counter[str] = Counter()
    for item in e.generator.keys:
        admitted[item.scope] += item.admitted
    for scope, statuses in e.generator.statuses.items():
        # The generator against itself: a reply that is not booked under a key names nothing.
        off += abs(sum(n for s, n in statuses.items() if s.startswith("2")) - admitted[scope])
    return float(sum(have for _, have in pairs)), float(sum(w for w, _ in pairs)), float(off)


def _names_nothing(e: Evidence) -> bool:
    """Whether replies lost their header: nothing is named, though all points of a release count."""
    blind = any(
        name == INSTRUMENTED and not value
        for page in e.after.workers
        for (name, _), value in page.items()
    )
    return not blind and not any(item.named for item in e.generator.keys)


def _named(e: Evidence) -> dict[str, list[tuple[int, int]]]:
    """2xx replies that should and that did name an object, by object, key for key."""
    found: dict[str, list[tuple[int, int]]] = {}
    for item in e.generator.keys:
        truth = e.truths.get(item.key_index)
        objects = () if truth is None else truth.digests
        for kind in {*objects, *item.named}:
            wanted = item.admitted if kind in objects else 0
            found.setdefault(kind, []).append((wanted, item.named.get(kind, 0)))
    return found


def _memory(e: Evidence) -> Sides:
    return _memory_with(e, 0)


def _memory_or_lost(e: Evidence) -> Sides:
    """A request that got no answer may have looked up what any key asks for."""
    return _memory_with(e, _no_answer(e))


def _memory_with(e: Evidence, more: int) -> Sides:
    begun = e.counted.by(ASKED, *_LOOKUP)
    left, right, off = _by_part(begun, e.counted.by(LOOKUPS, *_LOOKUP, tier="memory"))
    for part, (least, most) in _called_for(e, more).items():
        # Exactly, where every request was admitted; one that was refused may have asked less.
        off += max(0.0, least - begun.get(part, 0.0), begun.get(part, 0.0) - most)
    return left, right, off


def _memory_details(e: Evidence) -> str:
    begun = e.counted.by(ASKED, *_LOOKUP)
    ended = e.counted.by(LOOKUPS, *_LOOKUP, tier="memory")
    # Held against the nearer of the least and the greatest number that was called for.
    called = {
        part: min(max(begun.get(part, 0.0), least), most)
        for part, (least, most) in _called_for(e).items()
    }
    asked = {part: begun.get(part, 0.0) for part in called}
    texts = {"begun and not ended": _off(begun, ended), "not called for": _off(asked, called)}
    return "; ".join(f"{what}: {text}" for what, text in texts.items() if text)


def _called_for(e: Evidence, more: int = 0) -> dict[tuple[str, ...], tuple[int, int]]:
    """Lookups that the auth path makes, least and most, by object, op and scope.

    Args:
        e: the window.
        more: requests of any key that may have been served without an answer.
    """
    unknown = {path.scope for path in e.paths.values() if path.lookups is None}
    replies = {item.key_index: (item.admitted, item.answered) for item in e.generator.keys}
    least: Counter[tuple[str, ...]] = Counter()
    most: Counter[tuple[str, ...]] = Counter()
    spare: Counter[tuple[str, ...]] = Counter()
    for index, path in e.paths.items():
        admitted, answered = replies.get(index, (0, 0))
        # Where a row came or went, fewer may be made.
        surely = admitted if e.keeps_rows(path) else 0
        for pair, n in (path.lookups or {}).items():
            least[*pair, path.scope] += n * surely
            most[*pair, path.scope] += n * answered
            if e.rows_move:
                # While a key has no row, its requests are of no scope.
                most[*pair, KeyScope.UNKNOWN] += n * (answered - admitted)
    for path in e.paths.values() if more else ():
        for pair, n in (path.lookups or {}).items():
            for scope in (path.scope, KeyScope.UNKNOWN):
                spare[*pair, scope] = max(spare[*pair, scope], n * more)
    most.update(spare)
    return {part: (least[part], n) for part, n in most.items() if part[2] not in unknown}


def _pairs(e: Evidence) -> Sides:
    c = e.counted
    typed = c.by(FAILED_READS, "key_scope", logged="pair")
    left, right, off = _by_part(typed, c.by(LOGS, "key_scope", **LOG_PAIR))
    failed = _by_part(c.by(FAILED_READS, "object"), c.by(LOOKUPS, "object", **FAILURE))
    return left, right, off + failed[2]


def _key_spend(e: Evidence) -> Sides:
    return _spend(e, (ObjectKind.KEY,))


def _owner_spend(e: Evidence) -> Sides:
    return _spend(e, _OWNERS)


def _spend(e: Evidence, kinds: Sequence[ObjectKind]) -> Sides:
    rows = [pair for kind in kinds for pair in e.spend(kind).values()]
    due, gained = sum(d for d, _ in rows), sum(g for _, g in rows)
    return float(due), float(gained), float(sum(abs(d - g) for d, g in rows))


def _key_spend_or_lost(e: Evidence) -> Sides:
    return _spend_or_lost(e, (ObjectKind.KEY,))


def _owner_spend_or_lost(e: Evidence) -> Sides:
    return _spend_or_lost(e, _OWNERS)


def _spend_or_lost(e: Evidence, kinds: Sequence[ObjectKind]) -> Sides:
    """A request that got no answer may have been charged to any row, at the price of a reply."""
    prices = (item.cost_micro / item.admitted for item in e.generator.keys if item.admitted)
    slack = _no_answer(e) * max(prices, default=0.0)
    left, right, _ = _spend(e, kinds)
    off = 0.0
    for kind in kinds:
        lost, surplus = _apart(gained - due for due, gained in e.spend(kind).values())
        off += lost + _beyond(surplus, slack)
    return left, right, off


def _spend_details(*kinds: ObjectKind) -> Callable[[Evidence], str]:
    return lambda e: _off_by({kind: e.spend(kind).values() for kind in kinds})


def _known_to_lose(e: Evidence) -> bool:
    return not _spend(e, [kind for kind in _OWNERS if kind not in e.loses_spend])[2]


def _off(have: Mapping[Any, float], wanted: Mapping[Any, float]) -> str:
    """Parts that differ, with by how much: ``key +3, user -1``."""
    parts = {part: have.get(part, 0) - wanted.get(part, 0) for part in sorted({*have, *wanted})}
    return ", ".join(
        f"{part if isinstance(part, str) else ' '.join(part)} {n:+,.0f}"
        for part, n in parts.items()
        if n
    )


def _off_by(pairs: Mapping[str, Iterable[tuple[int, int]]]) -> str:
    """As `_off`, of objects whose rows or keys may cancel each other: ``team +0 in 2 places``."""
    texts = []
    for kind, both in sorted(pairs.items()):
        off = [have - wanted for wanted, have in both if have != wanted]
        if off:
            texts.append(f"{kind} {sum(off):+,} in {len(off):,} place{'s' * (len(off) > 1)}")
    return ", ".join(texts)


def _no_redis_count(e: Evidence) -> str:
    if not e.has_redis:
        return "the variant has no Redis tier"
    return "" if e.redis is not None else e.not_counted.get("redis", "Redis is not the fleet's own")


def _no_statement_count(e: Evidence) -> str:
    if e.statements is not None:
        return ""
    return e.not_counted.get("postgres", "Postgres has no pg_stat_statements")


def _replaced(e: Evidence) -> str:
    """Why what replicas count for themselves cannot be held against another count."""
    if not (workers := e.replaced):
        return ""
    return (
        f"worker{'s' * (len(workers) > 1)} {', '.join(map(str, workers))} ended: its counters are "
        f"those of its last scrape, {e.unseen_s:.2f} s before the fault, amid requests"
    )


def _commands_given_up(e: Evidence) -> str:
    assert e.fault is not None
    part = FAULTS[e.fault.planned.what].part
    reasons = {
        "redis": "a command that was cut or given up may have been run or not",
        "replica": "a replica that ends or hangs gives up commands that may have been run",
    }
    return _replaced(e) or reasons.get(part, "")


def _count_lost(e: Evidence) -> str:
    assert e.fault is not None
    fault = FAULTS[e.fault.planned.what]
    if fault.part == "postgres" and fault.forgets:
        return "Postgres ended, and pg_stat_statements with it"
    return _replaced(e)


def _listed(e: Evidence) -> str:
    kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(e.generator.unanswered.items()))
    return f"a fault was planned; without an answer: {kinds or 'none'}"


_UNLESS_REPLACED = "; not checked where a worker was replaced: its counters end at its last scrape"
_SAME = InFault("the same" + _UNLESS_REPLACED, not_checked=_replaced)
_GIVEN_UP = (
    "{} by at most the requests that were given up: without an answer, or answered 5xx"
    + _UNLESS_REPLACED
)
_COMMANDS = (
    "in a fault of Postgres: more at the server, by at most the requests that were given up; else "
    "not checked: a command that was cut or given up may have been run"
)


def _always(_: Evidence) -> bool:
    return True


def _poisoned(e: Evidence) -> bool:
    """Whether entries were replaced: what a variant takes them for decides what it looks up."""
    return e.fault is not None and e.fault.planned.what == "redis-poison"


_SPEND_SLACK = (
    "cost of answered <= spend <= cost of answered + unanswered x price; less is spend lost, a "
    "finding"
)
_ROWS_STAY = "without the rows that came or went in the window"

RULES: tuple[Rule, ...] = (
    Rule(
        "requests",
        "requests answered = requests that the replicas completed, scope by scope and status by "
        "status",
        "validity",
        "generator = replicas",
        "what a reply contains, and which key it was for",
        _requests,
        InFault(
            "answered <= completed <= answered + unanswered, status by status" + _UNLESS_REPLACED,
            _requests_or_lost,
            _replaced,
        ),
        in_changes="status by status over all scopes: a replica knows no scope of a key without a "
        "row",
    ),
    Rule(
        "unanswered",
        "requests without an answer = 0",
        "validity",
        "generator",
        "an answer that came late",
        _unanswered,
        InFault("not checked: they are listed", not_checked=_listed),
    ),
    Rule(
        "served",
        "objects named by 2xx replies = objects of their keys, key by key, each once a reply and "
        "no other",
        "validity",
        "replicas = population",
        "that an object was used as it was named; of an object named twice, which was used",
        _served,
        InFault("the same; after `redis-poison` a finding", finding=_poisoned),
        details=lambda e: _off_by(_named(e)),
        unexcused=_names_nothing,
    ),
    Rule(
        "memory",
        "lookups begun = outcomes in memory, by object, op and scope; lookups begun = what the "
        "auth path asks for the replies, at most that where some were refused",
        "validity",
        "replicas, replicas = generator",
        "lookups left out by a refused request; with repeated lookups, a load of a key or a peek "
        "at a team, which depend on what was found",
        _memory,
        InFault(
            "with at most what unanswered requests may have asked" + _UNLESS_REPLACED,
            _memory_or_lost,
            _replaced,
            _poisoned,
        ),
        details=_memory_details,
        in_changes="of a key one of whose rows came or went, at most what the replies ask",
    ),
    Rule(
        "redis_lookups",
        "Redis lookups = memory misses - lookups that waited before Redis (0 without a Redis tier)",
        "validity",
        "replicas",
        "an outcome that is booked under another object or scope",
        _redis_lookups,
        InFault(_GIVEN_UP.format("fewer"), _redis_lookups_or_given_up, _replaced),
    ),
    Rule(
        "redis_gets",
        "keys that the clients asked Redis for (GET, SET GET, MGET of spend counters) = keys read, "
        "as the fleet's Redis counted them",
        "validity",
        "replicas = Redis",
        "which key was asked for, and what Redis answered",
        _redis_gets,
        InFault(_COMMANDS, _redis_gets_or_given_up, _commands_given_up),
        _no_redis_count,
    ),
    Rule(
        "redis_writes",
        "objects written to Redis + claims = SET and SETEX calls; commands that the clients sent = "
        "calls that the fleet's Redis counted, command by command",
        "validity",
        "replicas = Redis",
        "what was written, under which key, and for how long",
        _redis_writes,
        InFault(_COMMANDS, _redis_writes_or_given_up, _commands_given_up),
        _no_redis_count,
        _redis_details,
    ),
    Rule(
        "source_reads",
        "source reads after a lookup = loads that no tier answered - loads that took another's "
        "answer + refreshes, object by object",
        "validity",
        "replicas",
        "the reason of a read, and the scope that it is booked under",
        _source_reads,
        InFault(_GIVEN_UP.format("fewer"), _source_reads_or_given_up, _replaced),
        details=lambda e: _off(*_reads_and_loads(e)),
    ),
    Rule(
        "direct",
        "source reads that no lookup came before = refusals whose key is read again for the log",
        "validity",
        "replicas = generator",
        "a refused request that reads another key again",
        _direct,
        InFault(
            "refusals <= reads <= refusals + unanswered" + _UNLESS_REPLACED,
            _direct_or_lost,
            _replaced,
        ),
        details=lambda e: _off(_direct_reads(e), {}),
    ),
    Rule(
        "reads_by_scope",
        "source reads that the workers logged, by the scope and kind of the object that was read = "
        "source reads that they counted, by scope and object",
        "validity",
        "replicas",
        "a read that neither counter nor log of a worker has; all_statements sees it",
        _reads_by_scope,
        _SAME,
        lambda e: "" if e.reads is not None else "the target keeps no log of its source reads",
    ),
    Rule(
        "statements",
        "source reads - source read errors = calls in pg_stat_statements, object by object",
        "validity",
        "replicas = Postgres",
        "which row was read, and for which scope",
        _statements,
        InFault(
            "source reads - errors - requests given up <= calls <= source reads; not checked "
            "where Postgres or a worker ended",
            _statements_or_late,
            _count_lost,
        ),
        _no_statement_count,
    ),
    Rule(
        "all_statements",
        "all calls of the fleet's role = reads of objects + other statements that the target names",
        "validity",
        "Postgres = target",
        "how often a named statement other than a read is sent: a transaction, a write, a health "
        "check",
        _all_statements,
        InFault("the same; not checked where Postgres or a worker ended", not_checked=_count_lost),
        _no_statement_count,
        lambda e: "" if e.statements is None else _off(e.statements.unnamed, {}),
    ),
    Rule(
        "pairs",
        "typed reads that failed = ERROR records of the log pair, scope by scope; failed reads = "
        "lookups that failed to deserialize, object by object",
        "validity",
        "replicas, cache = log",
        "a value that is decoded wrongly without an error",
        _pairs,
        _SAME,
    ),
    Rule(
        "key_spend",
        "cost of the 2xx replies = spend that the row of their key gained, key by key, in "
        "micro-units",
        "validity",
        "generator = Postgres",
        "a cost that is wrong in the reply and in Postgres alike",
        _key_spend,
        InFault(_SPEND_SLACK, _key_spend_or_lost, finding=_always),
        details=_spend_details(ObjectKind.KEY),
        in_changes=_ROWS_STAY,
    ),
    Rule(
        "spend_by_row",
        "cost of the 2xx replies = spend that the row of their user, team and membership gained, "
        "row by row over all keys that share it, in micro-units",
        "validity",
        "generator = Postgres",
        "spend that caches hold and Postgres does not",
        _owner_spend,
        InFault(_SPEND_SLACK, _owner_spend_or_lost, finding=_always),
        details=_spend_details(*_OWNERS),
        in_changes=_ROWS_STAY,
        excused=_known_to_lose,
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
    sides, description, excused = rule.sides, rule.description, False
    if evidence.fault is not None:
        reason = reason or rule.in_fault.not_checked(evidence)
        sides, excused = rule.in_fault.sides or sides, rule.in_fault.finding(evidence)
        description += f" (in a window of a fault: {rule.in_fault.says})"
    left = right = residual = None
    status: Literal["balanced", "unbalanced", "not_checked"] = "not_checked"
    if not reason:
        left, right, residual = sides(evidence)
        status = "balanced" if residual == 0 else "unbalanced"
    finding = rule.name in evidence.findings
    if status == "unbalanced":
        reason, finding = rule.details(evidence), finding or excused or rule.excused(evidence)
        finding = finding and not rule.unexcused(evidence)
    return Equation(
        name=rule.name,
        variant=evidence.variant,
        window=evidence.name,
        description=description,
        cannot_see=rule.cannot_see,
        left=left,
        right=right,
        residual=residual,
        status=status,
        kind="finding" if finding else rule.kind,
        reason=reason,
    )
