"""CPU per request of one worker, one tier forced for all objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.arms import BODY, CONNECTIONS, MeasuredServer, fleet_spec
from benchmarks.client import Job, Shot
from benchmarks.load import aim
from benchmarks.machine import CpuTimes, cpu_times, pin, two_cores, used_s
from benchmarks.population import copy_population, team_keys
from benchmarks.step import CPU, Figures
from harness.domain.series import CHAT_ROUTE, LOOKUPS, PENDING, READS
from harness.errors import InvalidRunError
from harness.observe.counters import Counters
from harness.process.loopback import local_http
from harness.process.waiting import wait_until
from harness.stack.base import Fleet, ProcessStack

_COUNTED = (LOOKUPS, READS, PENDING)
_OBJECTS = 2
"""Of a team key: the key and its team."""
_QUIET_TIMEOUT_S = 30.0
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class _Reading:
    """CPU times by group of processes."""

    server: CpuTimes
    redis: CpuTimes
    postgres: CpuTimes


class RequestStep:
    """Drives one arm in every round.

    Args:
        arm: what to measure.
        fleet: its running fleet.
        pids: process ids of the stack, by group.
        secrets: of its keys; a cold arm takes new ones for every shot.
    """

    def __init__(
        self,
        arm: MeasuredServer,
        fleet: Fleet,
        pids: Callable[[], dict[str, list[int]]],
        secrets: Sequence[str],
    ) -> None:
        self.name = arm.name
        self.shots = arm.shots
        self._arm = arm
        self._fleet = fleet
        self._pids = pids
        self._secrets = tuple(secrets)
        self._next = 0
        cores = two_cores()
        self._client_core = None if cores is None else cores[1]

    async def warm(self) -> None:
        """A shot that does not count: it fills the caches, so the tiers do not hold yet."""
        await self._drive()
        await self._at_rest()

    async def measure(self) -> Figures:
        """One shot. Raises InvalidRunError if a tier other than the arm's answered."""
        earlier = await self._at_rest()
        figures = await self._drive()
        counters = await self._at_rest()
        if counters is not None and earlier is not None:
            _check_tier(self._arm, counters.since(earlier))
        return figures

    async def _drive(self) -> Figures:
        async with aim(self._job(), self._client_core) as fire:
            before = self._read()
            shot = await fire()
            return self._figures(shot, before, self._read())

    def _job(self) -> Job:
        arm, url = self._arm, urlsplit(self._fleet.replica_urls[0])
        secrets = self._secrets
        if arm.cold:
            secrets = secrets[self._next : self._next + arm.requests]
            self._next += arm.requests
            assert len(secrets) == arm.requests, "a cold arm has keys for every shot"
        assert url.hostname is not None
        assert url.port is not None
        return Job(url.hostname, url.port, CHAT_ROUTE, BODY, secrets, CONNECTIONS, arm.requests)

    def _read(self) -> _Reading:
        pids, name = self._pids(), self._arm.name
        return _Reading(
            cpu_times(pids[f"fleet:{name}"]),
            cpu_times(pids.get(f"redis:{name}", ())),
            cpu_times(pids.get("postgres", ())),
        )

    def _figures(self, shot: Shot, before: _Reading, after: _Reading) -> Figures:
        def each(cpu_s: float) -> float:
            return cpu_s * _MICRO / shot.requests

        return {
            CPU: each(used_s(before.server, after.server)),
            "redis_cpu_us": each(used_s(before.redis, after.redis)),
            "postgres_cpu_us": each(used_s(before.postgres, after.postgres)),
            "client_cpu_us": each(shot.cpu_s),
            "requests_per_s": shot.requests / shot.elapsed_s,
        }

    async def _at_rest(self) -> Counters | None:
        """The worker's counters once nothing is pending; None where it does not count."""
        if not (self._arm.variant and self._arm.metrics):
            return None
        params: Any = [("name[]", name) for name in _COUNTED]

        async def at_rest() -> Counters | None:
            reply = await http.get(self._fleet.workers[0].metrics_url, params=params)
            counters = Counters.parse(reply.raise_for_status().text)
            return None if counters.sum(PENDING) else counters

        async with local_http(timeout=_QUIET_TIMEOUT_S) as http:
            counters = await wait_until(at_rest, _QUIET_TIMEOUT_S)
        if counters is None:
            raise InvalidRunError(
                f"The arm [{self.name}] still had work pending [{_QUIET_TIMEOUT_S:g} s] "
                "after its load. Run again, on a machine with less to do."
            )
        return counters


def _check_tier(arm: MeasuredServer, counted: Counters) -> None:
    """Raise InvalidRunError unless the arm's tier answered every lookup."""
    objects = _OBJECTS * arm.requests
    reads = counted.sum(READS)
    redis_hits = counted.sum(LOOKUPS, tier="redis", outcome="hit")
    memory_hits = counted.sum(LOOKUPS, tier="memory", outcome="hit")
    memory_others = counted.sum(LOOKUPS, tier="memory") - memory_hits
    held = {
        "memory": memory_hits >= objects and not memory_others and not reads,
        "redis": redis_hits == objects and not memory_hits and not reads,
        "postgres": reads == objects and not memory_hits and not redis_hits,
    }[arm.tier]
    if not held:
        raise InvalidRunError(
            f"In the arm [{arm.name}] [{arm.requests}] requests made [{memory_hits:.0f}] memory "
            f"hits, [{redis_hits:.0f}] Redis hits and [{reads:.0f}] source reads: a tier "
            f"other than {arm.tier} answered. This is a bug of the benchmark: please report it."
        )


async def open_arm(arm: MeasuredServer, stack: ProcessStack, rounds: int) -> RequestStep:
    """Start an arm's server, write its keys, and warm it up."""
    fleet = await stack.start(await fleet_spec(arm))
    # One shot more, for the warm-up.
    keys = team_keys(arm.requests * (rounds * arm.shots + 1) if arm.cold else CONNECTIONS)
    if arm.variant:
        await copy_population(fleet.dsn, keys)
    step = RequestStep(arm, fleet, stack.pids, [key.secret for key in keys])
    _pin(arm, stack.pids())
    await step.warm()
    return step


def _pin(arm: MeasuredServer, pids: dict[str, list[int]]) -> None:
    """The measured server has a core to itself; its servers share the other with the load."""
    cores = two_cores()
    if cores is None:
        return
    pin(pids[f"fleet:{arm.name}"], cores[0])
    for group in (f"redis:{arm.name}", "postgres"):
        pin(pids.get(group, ()), cores[1])
