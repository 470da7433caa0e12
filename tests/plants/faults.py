"""The faults that a run must notice, each with the detector that must speak.

Standard library only: `site/sitecustomize.py` loads this file in every process of a run, also in a
release's own environment. A patch gets the module that it changes, just imported, and a source of
chance, from which it draws its size.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

Patch = Callable[[Any, random.Random], None]


@dataclass(frozen=True)
class Fault:
    """One planted fault."""

    name: str
    what: str
    kind: str
    """Of: count, scope, ttl, data, authorisation, spend, latency, generator, snapshot, release."""
    patches: dict[str, Patch]
    """By the module that each changes."""
    noticed_by: str
    """What must speak: ``equation NAME``, ``cell CELL``, ``expectation WORDS``, ``reason WORDS``,
    ``point NAME`` (not instrumented), ``let through``, or ``test FILE``, whose tests must fail."""
    exit_code: int
    also: tuple[str, ...] = ()
    """Other equations that this fault unbalances by its nature."""
    scenario: str = "smoke"
    variants: str = "recommended"
    """With a release, `make plants` alone plants it: the release must be installed."""
    quick: str = ""
    """The run of `make test` in which it is planted too, together with others; empty for none.

    Each fault of such a run has a detector that no other fault of the run makes speak.
    """


def patches(names: str) -> dict[str, Callable[[ModuleType], None]]:
    """The patches of some faults, by module. Commas separate the names."""
    chance = random.Random(os.environ.get("AUTHCACHE_PLANT_SEED", "0"))
    planted: dict[str, list[Patch]] = {}
    for name in names.split(","):
        for module, patch in FAULTS[name].patches.items():
            planted.setdefault(module, []).append(patch)
    found = {
        module: functools.partial(_apply, several, chance) for module, several in planted.items()
    }
    return {**found, "harness.process.processes": _pass_on}


def _pass_on(module: Any) -> None:
    """Have the servers of a run inherit the plant: their environment is a minimal one."""
    module._PASSED_ON = (
        *module._PASSED_ON,
        "PYTHONPATH",
        "AUTHCACHE_PLANT",
        "AUTHCACHE_PLANT_SEED",
    )
    # A fault in a release is planted by PYTHONPATH too, which no caller's may reach.
    module._OUR_PYTHON = ()


def _apply(several: list[Patch], chance: random.Random, module: ModuleType) -> None:
    for patch in several:
        patch(module, chance)


def _wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


# Counts.


def _every_tenth_get_uncounted(module: Any, chance: random.Random) -> None:
    every, seen = chance.randint(8, 12), [0]

    def make(count: Callable[..., Any]) -> Callable[..., Any]:
        def redis_get(self: Any, purpose: str) -> None:
            seen[0] += 1
            if seen[0] % every:
                count(self, purpose)

        return redis_get

    _wrap(module.Metrics, "redis_get", make)


def _reads_counted_twice(module: Any, chance: random.Random) -> None:
    every, seen = chance.randint(4, 6), [0]

    def make(commit: Callable[..., Any]) -> Callable[..., Any]:
        def commit_some_twice(self: Any, trace: Any) -> None:
            for read in list(trace.source_reads):
                seen[0] += 1
                if seen[0] % every == 0:
                    trace.source_reads.append(read)
            commit(self, trace)

        return commit_some_twice

    _wrap(module.Metrics, "commit", make)


def _half_of_memory_hits_uncounted(module: Any, chance: random.Random) -> None:
    share = chance.uniform(0.3, 0.6)
    draw = random.Random(chance.random())

    def make(commit: Callable[..., Any]) -> Callable[..., Any]:
        def commit_some(self: Any, trace: Any) -> None:
            trace.lookups[:] = [
                one
                for one in trace.lookups
                if not (one.tier == "memory" and one.outcome == "hit" and draw.random() < share)
            ]
            commit(self, trace)

        return commit_some

    _wrap(module.Metrics, "commit", make)


def _more_sets(module: Any, chance: random.Random) -> None:
    more = chance.randint(5, 12)

    def make(set_newer: Callable[..., Any]) -> Callable[..., Any]:
        async def more_sets(self: Any, *arguments: Any, **options: Any) -> Any:
            for _ in range(more):
                await self._client.send("SET", self._namespace + "padding", b"x" * 2000)
            return await set_newer(self, *arguments, **options)

        return more_sets

    _wrap(module.RedisTier, "set_newer", make)


def _replies_counted_twice(module: Any, chance: random.Random) -> None:
    every, seen = chance.randint(20, 40), [0]

    def make(done: Callable[..., Any]) -> Callable[..., Any]:
        def some_twice(self: Any, route: str, status: int, scope: Any, seconds: float) -> None:
            seen[0] += 1
            if seen[0] % every == 0:
                self._requests[route, status, scope] += 1
            done(self, route, status, scope, seconds)

        return some_twice

    _wrap(module.Metrics, "request_done", make)


# Statements.


def _one_more_query(text: str) -> Patch:
    def patch(module: Any, _: random.Random) -> None:
        def make(answer: Callable[..., Any]) -> Callable[..., Any]:
            async def with_query(self: Any, token: str) -> Any:
                await self._pool.fetch(text, token)
                return await answer(self, token)

            return with_query

        _wrap(module.Store, "key", make)

    return patch


# Scopes.


def _shared_id_booked_under_user(module: Any, _: random.Random) -> None:
    def make(commit: Callable[..., Any]) -> Callable[..., Any]:
        def commit_elsewhere(self: Any, trace: Any) -> None:
            scope = trace.scope
            if scope == "shared_id" and trace.source_reads:
                trace.scope = type(scope)("user")
            commit(self, trace)
            trace.scope = scope

        return commit_elsewhere

    _wrap(module.Metrics, "commit", make)


def _hits_of_member_booked_under_user(module: Any, _: random.Random) -> None:
    def make(commit: Callable[..., Any]) -> Callable[..., Any]:
        def commit_elsewhere(self: Any, trace: Any) -> None:
            scope = trace.scope
            if scope == "member" and not trace.source_reads:
                trace.scope = type(scope)("user")
            commit(self, trace)
            trace.scope = scope

        return commit_elsewhere

    _wrap(module.Metrics, "commit", make)


# Data.


def _no_header(module: Any, _: random.Random) -> None:
    module.format_served = lambda _entries: ""


def _another_team(one_in: int) -> Patch:
    def patch(module: Any, chance: random.Random) -> None:
        held: list[Any] = []
        draw = random.Random(chance.random())

        def make(team: Callable[..., Any]) -> Callable[..., Any]:
            async def swapped(self: Any, team_id: str) -> Any:
                value = await team(self, team_id)
                held.append(value)
                return held[0] if draw.random() < 1 / one_in else value

            return swapped

        _wrap(module.Store, "team", make)

    return patch


def _another_team_in_the_header(low: int, high: int) -> Patch:
    def patch(module: Any, chance: random.Random) -> None:
        every, seen = chance.randint(low, high), [0]
        held: dict[str, Any] = {}

        def make(write: Callable[..., Any]) -> Callable[..., Any]:
            def write_some_wrong(entries: list[Any]) -> Any:
                told = list(entries)
                for place, entry in enumerate(entries):
                    seen[0] += 1
                    if entry.object == "team":
                        other = held.setdefault("team", entry)
                        if seen[0] >= every and other.digest != entry.digest:
                            told[place], seen[0] = entry._replace(digest=other.digest), 0
                return write(told)

            return write_some_wrong

        _wrap(module, "format_served", make)

    return patch


def _limit_of_teams_raised(module: Any, chance: random.Random) -> None:
    by = chance.randint(1, 9)

    def make(team: Callable[..., Any]) -> Callable[..., Any]:
        async def raised(self: Any, team_id: str) -> Any:
            value = await team(self, team_id)
            if value is not None:
                value.tpm_limit = (value.tpm_limit or 0) + by
            return value

        return raised

    _wrap(module.Store, "team", make)


def _dated_early(module: Any, chance: random.Random) -> None:
    """The truth has every change some seconds before it was made."""
    shift_s = chance.uniform(4.0, 6.0)

    def make(judged: Callable[..., Any]) -> Callable[..., Any]:
        async def early(self: Any, change: Any, event: Any, until_s: float) -> Any:
            sent_s, answered_s = event.sent_s - shift_s, event.answered_s - shift_s
            moved = replace(event, sent_s=sent_s, answered_s=answered_s)
            return await judged(self, change, moved, until_s - shift_s)

        return early

    _wrap(module.ChangeMaker, "_judged", make)


def _news_unheard(module: Any, _: random.Random) -> None:
    """A worker receives the news of a change, and keeps its entries."""

    def make(told: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, number, _objects: told(self, number, [])

    _wrap(module.Generation, "told", make)


def _expires_lost(module: Any, _: random.Random) -> None:
    def make(key: Callable[..., Any]) -> Callable[..., Any]:
        async def without(self: Any, token: str) -> Any:
            value = await key(self, token)
            if value is not None:
                value.expires = None
                value.metadata = {}
            return value

        return without

    _wrap(module.Store, "key", make)


# Authorisation.


def _no_checks(module: Any, _: random.Random) -> None:
    for name in ("_check_alive", "_check_model", "_check_team", "check"):
        if hasattr(module, name):
            setattr(module, name, lambda *_: None)


def _zero_is_no_budget(module: Any, _: random.Random) -> None:
    def make(allowance: Callable[..., Any]) -> Callable[..., Any]:
        def without_zero(*arguments: Any) -> Any:
            found = allowance(*arguments)
            return type(found)(found.label, found.owner, found.copied, found.budget or None)

        return without_zero

    for name in ("_allowance", "_member_allowance"):
        _wrap(module, name, make)


# Spend.


def _only_keys_are_billed(module: Any, _: random.Random) -> None:
    def make(add: Callable[..., Any]) -> Callable[..., Any]:
        def add_keys(self: Any, kind: str, ids: Any, micro: int) -> None:
            if kind == "key":
                add(self, kind, ids, micro)

        return add_keys

    _wrap(module.SpendWriter, "add", make)


def _billed_to_the_one_before(which: str) -> Patch:
    def patch(module: Any, _: random.Random) -> None:
        last: dict[str, Any] = {}

        def make(add: Callable[..., Any]) -> Callable[..., Any]:
            def add_late(self: Any, kind: str, ids: Any, micro: int) -> None:
                if kind == which:
                    ids, last[kind] = last.get(kind, ids), ids
                add(self, kind, ids, micro)

            return add_late

        _wrap(module.SpendWriter, "add", make)

    return patch


def _spend_lost(module: Any, chance: random.Random) -> None:
    every, seen = chance.randint(50, 150), [0]

    def make(add: Callable[..., Any]) -> Callable[..., Any]:
        def add_most(self: Any, kind: str, ids: Any, micro: int) -> None:
            seen[0] += kind == "key"
            if kind != "key" or seen[0] % every:
                add(self, kind, ids, micro)

        return add_most

    _wrap(module.SpendWriter, "add", make)


def _members_billed_twice(module: Any, chance: random.Random) -> None:
    every, seen = chance.randint(10, 30), [0]

    def make(add: Callable[..., Any]) -> Callable[..., Any]:
        def add_some_twice(self: Any, kind: str, ids: Any, micro: int) -> None:
            seen[0] += kind == "membership"
            twice = kind == "membership" and seen[0] % every == 0
            add(self, kind, ids, micro * (1 + twice))

        return add_some_twice

    _wrap(module.SpendWriter, "add", make)


# Time to live.


def _ttl_times(low: float, high: float) -> Patch:
    def patch(module: Any, chance: random.Random) -> None:
        factor = chance.uniform(low, high)

        def make(init: Callable[..., Any]) -> Callable[..., Any]:
            def longer(self: Any, **parts: Any) -> None:
                init(self, **{**parts, "ttl_s": parts["ttl_s"] * factor})

            return longer

        _wrap(module.AuthCache, "__init__", make)

    return patch


# Latency and generator.


def _slower(module: Any, chance: random.Random) -> None:
    seconds = chance.uniform(0.04, 0.06)

    def make(key: Callable[..., Any]) -> Callable[..., Any]:
        async def slow(self: Any, *arguments: Any) -> Any:
            # In `recommended` alone: the other variant is what it is compared with.
            if not self._repeated:
                await asyncio.sleep(seconds)
            return await key(self, *arguments)

        return slow

    _wrap(module.Authenticator, "_admit", make)


def _most_slower(module: Any, chance: random.Random) -> None:
    share, seconds = chance.uniform(0.65, 0.75), chance.uniform(0.06, 0.08)
    draw = random.Random(chance.random())

    def make(admit: Callable[..., Any]) -> Callable[..., Any]:
        async def slow(self: Any, *arguments: Any) -> Any:
            if not self._repeated and draw.random() < share:
                await asyncio.sleep(seconds)
            return await admit(self, *arguments)

        return slow

    _wrap(module.Authenticator, "_admit", make)


def _some_never_sent(module: Any, chance: random.Random) -> None:
    every = chance.randint(20, 30)

    def make(init: Callable[..., Any]) -> Callable[..., Any]:
        def shorter(self: Any, plan: Any, **parts: Any) -> None:
            init(self, [one for place, one in enumerate(plan) if (place + 1) % every], **parts)

        return shorter

    _wrap(module.PlannedFeed, "__init__", make)


def _all_late(module: Any, chance: random.Random) -> None:
    _delay(module, chance.uniform(0.15, 0.24), 1.0)


def _some_late(module: Any, chance: random.Random) -> None:
    _delay(module, 0.3, chance.uniform(0.025, 0.035))


def _delay(module: Any, seconds: float, share: float) -> None:
    draw = random.Random(1)

    def make(record: Callable[..., Any]) -> Callable[..., Any]:
        def late(self: Any, arrival: Any, sent_s: float, done_s: float, outcome: Any) -> None:
            by = seconds if draw.random() < share else 0.0
            record(self, arrival, sent_s + by, done_s + by, outcome)

        return late

    _wrap(module.RequestRecorder, "record", make)


# Snapshots.


def _no_rest(module: Any, _: random.Random) -> None:
    async def at_once(*_: Any) -> bool:
        return True

    module.wait_until = at_once


def _redis_of_the_one_before(module: Any, chance: random.Random) -> None:
    which, counts = chance.randint(2, 4), []

    def make(count: Callable[..., Any]) -> Callable[..., Any]:
        async def older(self: Any) -> Any:
            counts.append(await count(self))
            return counts[-2] if len(counts) == which else counts[-1]

        return older

    _wrap(module.Observer, "_redis_count", make)


# The analysis.


def _line_one_ttl_longer(module: Any, _: random.Random) -> None:
    def make(line: Callable[..., Any]) -> Callable[..., Any]:
        return lambda objects, seconds, ttl_s: line(objects, seconds + ttl_s, ttl_s)

    _wrap(module, "line_reads", make)


# Releases: what runs inside one.


def _fail(*_: Any) -> Any:
    raise AttributeError("planted")


def _cannot_be_wrapped(point: str) -> Patch:
    def patch(module: Any, _: random.Random) -> None:
        def make(wrap: Callable[..., Any]) -> Callable[..., Any]:
            def wrap_the_others(self: Any, one: Any, how: Callable[[], None]) -> None:
                wrap(self, one, _fail if one == point else how)

            return wrap_the_others

        _wrap(module.Guard, "wrap", make)

    return patch


def _failures_unseen(module: Any, _: random.Random) -> None:
    lookups: Any = sys.modules[module.OpenLookup.__module__]

    class Blind(lookups.OpenLookup):  # type: ignore[misc]
        __slots__ = ()
        failed = property(lambda _: False, lambda _, __: None)

    # The control has the class as it was.
    lookups.OpenLookup = Blind


def _watch_fails(module: Any, chance: random.Random) -> None:
    every, seen = chance.randint(20, 60), [0]

    def make(run: Callable[..., Any]) -> Callable[..., Any]:
        def run_most(self: Any, point: Any, function: Any, /, *args: Any) -> Any:
            seen[0] += point == "auth_cache"
            fails = point == "auth_cache" and self.answered and seen[0] % every == 0
            return run(self, point, _fail if fails else function, *args)

        return run_most

    _wrap(module.Guard, "run", make)


_METRICS = "harness.targets.metrics"
_TIERS = "harness.authcache.tiers"
_STORE = "harness.targets.reference.store"
_SPEND = "harness.targets.reference.spend"
_CACHE = "harness.authcache.cache"
_INSIDE = "harness.targets.litellm.inside"
_RELEASE: Any = {"scenario": "tests/plants/release.toml", "variants": "litellm==1.84.0rc1"}

FAULTS = {
    fault.name: fault
    for fault in (
        Fault(
            "gets-uncounted",
            "every 10th Redis GET is not counted",
            "count",
            {_METRICS: _every_tenth_get_uncounted},
            "equation redis_gets",
            4,
            also=("redis_writes",),
            quick="counts",
        ),
        Fault(
            "reads-twice",
            "every 5th source read is counted twice",
            "count",
            {_METRICS: _reads_counted_twice},
            "equation statements",
            4,
            also=("source_reads", "reads_by_scope"),
        ),
        Fault(
            "hits-uncounted",
            "half of the memory hits are not counted",
            "count",
            {_METRICS: _half_of_memory_hits_uncounted},
            "equation memory",
            4,
            quick="counts",
        ),
        Fault(
            "scope-swapped",
            "source reads of `shared_id` are booked under `user`",
            "scope",
            {_METRICS: _shared_id_booked_under_user},
            "equation reads_by_scope",
            4,
            also=("memory",),
            variants="litellm_1_84,recommended",
        ),
        Fault(
            "no-header",
            "the served header is left out",
            "data",
            {"harness.targets.reference.app": _no_header},
            "equation served",
            4,
            also=("reads_by_scope",),
            quick="counts",
        ),
        Fault(
            "other-team",
            "another team in 1 of 20 reads, told in the header",
            "data",
            {_STORE: _another_team(20)},
            "cell hidden",
            1,
        ),
        Fault(
            "no-checks",
            "no authorisation at all",
            "authorisation",
            {f"harness.targets.reference.{name}": _no_checks for name in ("auth", "budgets")},
            "let through",
            1,
            quick="writes",
        ),
        Fault(
            "only-keys-billed",
            "user, team and membership spend is never billed",
            "spend",
            {_SPEND: _only_keys_are_billed},
            "equation spend_by_row",
            4,
        ),
        Fault(
            "key-before",
            "every reply is billed to the key of the one before",
            "spend",
            {_SPEND: _billed_to_the_one_before("key")},
            "equation key_spend",
            4,
            quick="counts",
        ),
        Fault(
            "team-before",
            "every reply is billed to the team of the one before",
            "spend",
            {_SPEND: _billed_to_the_one_before("team")},
            "equation spend_by_row",
            4,
        ),
        Fault(
            "ten-ttls",
            "entries live 10 TTLs",
            "ttl",
            {_CACHE: _ttl_times(9, 11)},
            "expectation ttl",
            1,
            scenario="issue-27874",
        ),
        Fault(
            "with-query",
            "one more query a read, written `WITH ...`",
            "count",
            {_STORE: _one_more_query("WITH one AS (SELECT $1::text) SELECT * FROM one")},
            "equation all_statements",
            4,
        ),
        Fault(
            "select-query",
            "one more query a read, written `SELECT ...`",
            "count",
            {
                _STORE: _one_more_query(
                    'SELECT token FROM "LiteLLM_VerificationToken" WHERE token = $1'
                )
            },
            "equation statements",
            4,
            also=("all_statements",),
        ),
        Fault(
            "more-sets",
            "ten more Redis SETs of 2 kB a write",
            "count",
            {_TIERS: _more_sets},
            "equation redis_writes",
            4,
            quick="writes",
        ),
        Fault(
            "expires-lost",
            "`expires` and `metadata` are lost on the way to the cache",
            "data",
            {_STORE: _expires_lost},
            "cell hidden",
            1,
        ),
        Fault(
            "slower",
            "every request is 50 ms slower",
            "latency",
            {"harness.targets.reference.auth": _slower},
            "expectation service_p50_ms",
            1,
            scenario="issue-27874",
            variants="litellm_1_84,recommended",
        ),
        Fault(
            "no-rest",
            "snapshots do not wait for rest",
            "snapshot",
            {"harness.observe.snapshots": _no_rest},
            "equation key_spend",
            4,
            also=("spend_by_row", "requests", "redis_writes", "redis_gets", "all_statements"),
        ),
        Fault(
            "spend-lost",
            "1 increment of key spend in 100 is lost",
            "spend",
            {_SPEND: _spend_lost},
            "equation key_spend",
            4,
        ),
        Fault(
            "all-late",
            "all requests start 200 ms late",
            "generator",
            {"harness.load.recorder": _all_late},
            "reason lagged",
            4,
            quick="late",
        ),
        Fault(
            "some-late",
            "3 % of the requests start 300 ms late",
            "generator",
            {"harness.load.recorder": _some_late},
            "reason late",
            4,
        ),
        Fault(
            "ttl-longer",
            "TTL x 1.07 to 1.2",
            "ttl",
            {_CACHE: _ttl_times(1.07, 1.2)},
            "expectation ttl_kept",
            1,
            scenario="issue-27874",
        ),
        Fault(
            "ttl-shorter",
            "TTL x 0.85 to 0.93",
            "ttl",
            {_CACHE: _ttl_times(0.85, 0.93)},
            "expectation ttl_kept",
            1,
            scenario="issue-27874",
        ),
        Fault(
            "other-team-rarely",
            "another team in 1 of 1,000 entries of the header",
            "data",
            {"harness.targets.reference.app": _another_team_in_the_header(800, 1000)},
            "cell hidden",
            1,
            scenario="issue-27874",
        ),
        Fault(
            "change-dated-early",
            "the harness dates changes 4 to 6 s too early",
            "data",
            {"harness.experiment.changes": _dated_early},
            "cell stale",
            1,
        ),
        Fault(
            "news-unheard",
            "workers receive the news of a change and keep their entries",
            "data",
            {"harness.authcache.invalidation": _news_unheard},
            "expectation others_s_max",
            1,
            scenario="issue-27874",
        ),
        Fault(
            "line-longer",
            "the reference line is one TTL too long",
            "count",
            {"harness.plan.reference_line": _line_one_ttl_longer},
            "test tests/plan/test_reference_line.py",
            1,
            quick="line-longer",
        ),
        Fault(
            "release-codec",
            "a release's codec cannot be wrapped",
            "release",
            {f"{_INSIDE}.guard": _cannot_be_wrapped("codec")},
            "point codec",
            3,
            **_RELEASE,
        ),
        Fault(
            "release-blind",
            "a release's failures to decode are not seen",
            "release",
            {f"{_INSIDE}.controls": _failures_unseen},
            "point codec",
            3,
            **_RELEASE,
        ),
        Fault(
            "replies-twice",
            "1 reply in 30 is counted twice",
            "count",
            {_METRICS: _replies_counted_twice},
            "equation requests",
            4,
        ),
        Fault(
            "hits-elsewhere",
            "memory hits of `member` are booked under `user`",
            "scope",
            {_METRICS: _hits_of_member_booked_under_user},
            "equation memory",
            4,
        ),
        Fault(
            "change-unread",
            "no worker hears of a change, and entries live 10 TTLs",
            "ttl",
            {"harness.authcache.invalidation": _news_unheard, _CACHE: _ttl_times(9, 11)},
            "cell stale",
            1,
        ),
        Fault(
            "limit-raised",
            "a team's token limit is some tokens higher in the cache",
            "data",
            {_STORE: _limit_of_teams_raised},
            "cell hidden",
            1,
        ),
        Fault(
            "zero-budget",
            "a budget of 0 counts as none",
            "authorisation",
            {"harness.targets.reference.auth": _zero_is_no_budget},
            "let through",
            1,
        ),
        Fault(
            "members-twice",
            "1 reply in 20 is billed twice to the membership",
            "spend",
            {_SPEND: _members_billed_twice},
            "equation spend_by_row",
            4,
        ),
        Fault(
            "most-slower",
            "2 of 3 requests are 70 ms slower",
            "latency",
            {"harness.targets.reference.auth": _most_slower},
            "expectation service_p50_ms",
            1,
            scenario="issue-27874",
            variants="litellm_1_84,recommended",
        ),
        Fault(
            "never-sent",
            "1 planned request in 25 is never sent",
            "generator",
            {"harness.load.feeds": _some_never_sent},
            "reason planned requests",
            4,
        ),
        Fault(
            "redis-before",
            "a snapshot has the Redis counts of the one before",
            "snapshot",
            {"harness.observe.snapshots": _redis_of_the_one_before},
            "equation redis_gets",
            4,
            also=("redis_writes",),
        ),
        Fault(
            "release-watch-fails",
            "1 lookup in 40 makes the code that watches a release fail",
            "release",
            {f"{_INSIDE}.guard": _watch_fails},
            "reason instrumentation",
            4,
            also=("requests", "redis_lookups"),
            **_RELEASE,
        ),
        Fault(
            "release-no-header",
            "a release's served header is left out",
            "release",
            {f"{_INSIDE}.serve": _no_header},
            "equation served",
            4,
            **_RELEASE,
        ),
    )
}
