"""Budgets: what each owner of a request has spent, counted as the switch ``spend_counter`` says.

An owner is a key, a user, a team or a membership. With ``none`` a budget is checked against the
spend in the cached copy of its owner. The other values keep a counter for each owner that has a
budget. A request is admitted by one step that checks all its counters and adds the price of the
reply to them: a reservation, as releases make one from 1.84 on. A reply that is never given
releases it. So two requests that are under way at the same time cannot both take the last reply.

Amounts are integers, in micro-units.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from harness.authcache.cache import SourceUnavailableError
from harness.authcache.events import SourceRead
from harness.authcache.switches import Switches
from harness.authcache.tiers import RedisTier, RedisUnavailableError, Script
from harness.authcache.trace import Recorder, Trace
from harness.authcache.words import ObjectKind, ReadReason
from harness.targets.reference.problems import BudgetExceededError
from harness.targets.reference.store import MICRO, Owner, Row, Store, to_micro

_WITHOUT_LIMIT = 2**53
"""Lua counts in doubles: up to here every integer is exact. Greater budgets are no limit."""

_ADMITTED, _MISSING = 1, -1

RESERVE = Script(
    """
local price, life = tonumber(ARGV[1]), ARGV[2]
local have, spent, missing, over = redis.call('MGET', unpack(KEYS)), {}, {-1}, false
for i = 1, #KEYS do
  local budget, least = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local counted = tonumber(have[i] or nil)
  if not counted and not least then missing[#missing + 1] = i end
  spent[i] = math.max(counted or 0, least or 0)
  over = over or spent[i] >= budget
end
if #missing > 1 then return missing end
if over then return {0, unpack(spent)} end
for i = 1, #KEYS do
  spent[i] = spent[i] + price
  redis.call('INCRBY', KEYS[i], string.format('%.0f', spent[i] - (have[i] or 0)))
  redis.call('PEXPIRE', KEYS[i], life)
end
return {1, unpack(spent)}
""",
    reads=True,
    ran=lambda answer, keys: {
        "mget": 1,
        **(dict.fromkeys(("incrby", "pexpire"), keys) if answer[0] == _ADMITTED else {}),
    },
)
"""Check all counters and, unless one has reached its budget, add the price to all.

``ARGV`` is the price, a counter's life in ms, and for each counter its budget and the least that it
can be; an empty text for unknown. A counter below its least is raised to it, so a counter that was
lost, and one that missed something, is right again as soon as a worker knows better.
Returns 1 and the new values, 0 and the values, or -1 and the places of counters that are missing
and whose least is unknown.
"""

_SEED = Script(
    """
redis.call('INCRBY', KEYS[1], ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""",
    reads=False,
    ran=lambda _, keys: {"incrby": keys, "pexpire": keys},
)


class Allowance(msgspec.Struct, frozen=True):
    """An owner whose budget a request is checked against."""

    label: str
    """The owner in an error message."""
    owner: Owner
    copied: float | None
    """Spend in the cached copy of the owner's object, in US dollars."""
    budget: float | None
    """In US dollars; None for no limit."""
    made: datetime | None = None
    """When the copied row was made."""


class Spent(Protocol):
    """`harness.targets.reference.spend.SpendWriter.spent`."""

    def __call__(
        self, owner: Owner, copied: int, made: datetime | None = None, *, at_least: bool = False
    ) -> int:
        """What an owner has spent as far as the worker knows, in micro-units."""


class Recent:
    """Amounts, of owners or of rows, that are forgotten ``life_s`` seconds after they were put."""

    def __init__(self, life_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._life_s = life_s
        self._clock = clock
        self._amounts: dict[Hashable, tuple[int, float]] = {}
        """With the moments of their end, which are in order: all live equally long."""

    def get(self, owner: Hashable) -> int | None:
        """The amount of an owner, None where it was never put or is forgotten."""
        found = self._amounts.get(owner)
        return None if found is None or found[1] <= self._clock() else found[0]

    def put(self, owner: Hashable, micro: int) -> None:
        """Remember an amount from now on."""
        now = self._clock()
        self._amounts.pop(owner, None)
        self._amounts[owner] = micro, now + self._life_s
        while (oldest := next(iter(self._amounts))) != owner and self._amounts[oldest][1] <= now:
            del self._amounts[oldest]


def check(label: str, spent: int, budget: float | None) -> None:
    """Raises BudgetExceededError if spend, in micro-units, has reached a budget in US dollars."""
    if budget is not None and spent >= _limit(budget):
        raise BudgetExceededError(
            f"{label} budget exceeded: spent {spent / MICRO:.6f} of {budget:.6f} US dollars."
        )


class Budgets:
    """Checks budgets for one worker.

    Args:
        switches: the behaviour under study.
        redis: the Redis tier, None where the variant has none: then counters are the worker's own.
        store: Postgres.
        recorder: counts source reads that failed.
        spent: what an owner has spent as far as this worker knows.
        price: of one reply, in micro-units. The mock model's is known before it replies; a proxy
            that must guess reserves an estimate and corrects it by a second command. 0 where
            nothing is charged: then nothing is counted.
        life_s: how long a counter lives after the last reservation. It must be longer than the
            greatest age of a copy and one flush together: then a counter that has expired has
            nothing that is missing in a copy, and the copy seeds the next one exactly.
    """

    def __init__(
        self,
        switches: Switches,
        redis: RedisTier | None,
        store: Store,
        recorder: Recorder,
        spent: Spent,
        *,
        price: int,
        life_s: float,
    ) -> None:
        self._counts = switches.spend_counter != "none" and price > 0
        self._adds_seeds = switches.spend_counter == "redis_add"
        self._redis = None if switches.spend_counter == "per_worker" else redis
        self._copies_are_exact = switches.spend_path == "write_behind"
        self._store = store
        self._recorder = recorder
        self._spent = spent
        self._price = price
        self._life_ms = max(1, round(life_s * 1000))
        self._here = Recent(life_s)
        """This worker's counters; with Redis the values that it last answered."""
        self._seeding = asyncio.Lock()

    def seen(self, owner: Owner, copied: float | None, made: datetime | None = None) -> int:
        """The spend of an owner whose copy was looked up, in micro-units.

        Where counters decide, it is the least: no request is refused for what is counted twice.
        """
        return self._known(owner, copied, made, at_least=self._counts)

    async def reserve(self, allowances: Sequence[Allowance], trace: Trace) -> tuple[Row, ...]:
        """Take the price of a reply out of all budgets, or out of none.

        If Redis does not answer, this worker's own counters decide, from the last values that it
        knows: each worker then admits what it believes to be left, and learns of the others'
        spend when it has written its own to Postgres.

        Returns:
            What to `release` if the reply is not given.

        Raises:
            BudgetExceededError: a budget is used up; nothing was reserved.
        """
        limited = [one for one in allowances if one.budget is not None] if self._counts else []
        if not limited:
            return ()
        try:
            if self._redis is not None:
                await self._reserve_in_redis(self._redis, limited, trace)
                return tuple(self._row(one) for one in limited)
        except RedisUnavailableError:
            known = [max(self._least(one), self._here.get(self._row(one)) or 0) for one in limited]
        else:
            own = [self._here.get(self._row(one)) for one in limited]
            known = [
                self._least(one) if n is None else n for one, n in zip(limited, own, strict=True)
            ]
        for one, spent in zip(limited, known, strict=True):
            check(one.label, spent, one.budget)
        for one, spent in zip(limited, known, strict=True):
            self._here.put(self._row(one), spent + self._price)
        return tuple(self._row(one) for one in limited)

    async def release(self, rows: Sequence[Row]) -> None:
        """Give back what was reserved. A counter that is gone by now has nothing to give back."""
        for row in rows:
            if (here := self._here.get(row)) is not None:
                self._here.put(row, here - self._price)
            if self._redis is None:
                continue
            back = (-self._price, self._life_ms, _WITHOUT_LIMIT, "")
            try:
                await self._redis.run(RESERVE, [_counter(row)], *back)
            except RedisUnavailableError:
                return  # The counter is too high by this until it expires.

    async def _reserve_in_redis(
        self, redis: RedisTier, allowances: Sequence[Allowance], trace: Trace
    ) -> None:
        """Raises BudgetExceededError, RedisUnavailableError."""
        answer = await self._ask(redis, allowances, seeds=not self._adds_seeds)
        if answer[0] == _MISSING:
            # One reader in a worker, as in releases. Between workers nothing keeps two of them from
            # adding the same spend twice: that is what `redis_add` is.
            async with self._seeding:
                answer = await self._ask(redis, allowances, seeds=False)
                missing = answer[1:] if answer[0] == _MISSING else []
                for place in missing:
                    one = allowances[place - 1]
                    seed = await self._read(one, trace)
                    await redis.run(_SEED, [_counter(self._row(one))], seed, self._life_ms)
                if missing:
                    answer = await self._ask(redis, allowances, seeds=True)
        outcome, *values = answer
        for one, spent in zip(allowances, values, strict=True):
            self._here.put(self._row(one), spent)
        if outcome != _ADMITTED:
            for one, spent in zip(allowances, values, strict=True):
                check(one.label, spent, one.budget)

    async def _ask(
        self, redis: RedisTier, allowances: Sequence[Allowance], *, seeds: bool
    ) -> list[int]:
        pairs: list[int | str] = []
        for one in allowances:
            assert one.budget is not None
            pairs += [_limit(one.budget), self._least(one) if seeds else ""]
        counters = [_counter(self._row(one)) for one in allowances]
        answer: list[int] = await redis.run(RESERVE, counters, self._price, self._life_ms, *pairs)
        return answer

    async def _read(self, allowance: Allowance, trace: Trace) -> int:
        """An owner's spend in Postgres, or in its copy where Postgres does not answer."""
        kind = ObjectKind(allowance.owner[0])
        trace.source_reads.append(SourceRead(kind, ReadReason.SEED))
        try:
            return await self._store.spend(allowance.owner)
        except SourceUnavailableError:
            self._recorder.source_read_error(kind)
            return self._least(allowance)

    def _least(self, allowance: Allowance) -> int:
        """What an owner has spent at least. It never counts anything twice."""
        return self._known(allowance.owner, allowance.copied, allowance.made, at_least=True)

    def _row(self, allowance: Allowance) -> Row:
        # A release counts for an id, so a key made anew goes on where the old one was.
        return allowance.owner, allowance.made if self._copies_are_exact else None

    def _known(
        self, owner: Owner, copied: float | None, made: datetime | None, *, at_least: bool
    ) -> int:
        micro = to_micro(copied)
        if self._copies_are_exact:
            return self._spent(owner, micro, made, at_least=at_least)
        return micro  # With `read_modify_write` copies hold what was charged, or have lost it.


def _counter(row: Row) -> str:
    (kind, ids), made = row
    return ":".join(("spend", kind, *ids, *([] if made is None else [made.isoformat()])))


def _limit(budget: float) -> int:
    return to_micro(budget) if budget * MICRO < _WITHOUT_LIMIT else _WITHOUT_LIMIT
