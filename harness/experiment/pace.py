"""The arrival rate and the TTL of a run that includes a release.

A release's proxy sustains a fraction of the reference proxy's rate; the fraction depends on the
machine. If the planned rate were too high, the generator would run late and the run would prove
nothing. So each release is measured first, in a short closed loop with keys of its own: the keys of
the run stay cold, and the loop triggers the imports that Python makes on a first request.

If the rate found is too low for the population at the planned TTL, the TTL is raised, so that every
object is still requested often enough within one TTL (docs/decisions/0015-longer-ttl.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.domain.population import MOCK_MODEL, make_population, write_keys
from harness.domain.progress import Progress
from harness.domain.window import WindowCommand
from harness.errors import TooSlowError
from harness.load.client import LoadDriver
from harness.observe.snapshots import Observer
from harness.plan.plan import RunPlan
from harness.scenario.sizing import least_rate, sizing

LEAST_PER_S = 5.0
"""Requests/s that every release must sustain. Below it a TTL would last minutes."""
WARMING_S = 6.0
"""Length of the closed loop that warms a fleet's code."""
MEASURED_S = 4.0
"""Length of the closed loop that is measured."""
_USERS = 8
_SEED_APART = 1_000_003


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate and TTL of a run with releases, and the figures they were decided from."""

    slowest: str
    """The release that limits the rate: its sustained rate times its share is the lowest."""
    sustained_per_s: float
    """Requests/s that it answered in a closed loop."""
    needed_per_s: float
    """Requests/s that the population needs at the planned TTL."""
    rate_per_s: float
    """Requests/s of every variant."""
    planned_ttl_s: float
    ttl_s: float
    """Of every variant; greater than planned where the rate is less than needed."""
    sustained: Mapping[str, float] = field(default_factory=dict)
    """Requests/s that each release answered in a closed loop."""

    @property
    def raised(self) -> bool:
        """Whether the TTL is longer than planned."""
        return self.ttl_s > self.planned_ttl_s


async def find_pace(
    plan: RunPlan,
    driver: LoadDriver,
    observers: Mapping[str, Observer],
    folder: Path,
    progress: Progress,
) -> Pace | None:
    """The rate and TTL to drive the run at; None without a release, or if the load is closed.

    Args:
        plan: its rate is the upper limit, its TTL the lower limit.
        driver: the load driver.
        observers: by variant; their replicas are up and their databases filled.
        folder: where the keys of the closed loop are stored while it runs.
        progress: receives a note with the decision.

    Raises:
        TooSlowError: a release sustains less than `LEAST_PER_S`.
    """
    if not _paced(plan):
        return None
    progress.phase("finding the rate that the slowest release sustains")
    loops = (WARMING_S, MEASURED_S)
    pace = decide(plan, await closed_loops(plan, driver, observers, folder, loops))
    progress.note(" ".join(sentences(plan, pace)))
    return pace


async def closed_loops(
    plan: RunPlan,
    driver: LoadDriver,
    observers: Mapping[str, Observer],
    folder: Path,
    durations_s: Sequence[float],
) -> dict[str, float]:
    """Drive each release in closed loops, with keys of their own.

    Args:
        plan: names the releases and the mix.
        driver: the load driver.
        observers: by variant; their replicas are up and their databases filled.
        folder: where the keys are stored while the loops run.
        durations_s: length of each loop, in order.

    Returns:
        Requests/s that each release answered in its last loop.
    """
    keys = make_population(
        dict.fromkeys(plan.scenario.load.mix, 1),
        {},
        seed=plan.scenario.seed + _SEED_APART,
        model=MOCK_MODEL,
    )
    keys_file = folder / "pace-keys.json"
    write_keys(keys_file, keys)
    sustained: dict[str, float] = {}
    try:
        for name in _shares(plan):
            target = observers[name].fleet.spec.target
            await target.database.seed(observers[name].postgres, keys)
            for duration_s in durations_s:
                result = await driver.window(
                    _command(plan, observers[name], str(keys_file), duration_s)
                )
                sustained[name] = result.answered / result.elapsed_s
            await observers[name].at_rest(timeout_s=60.0)
    finally:
        keys_file.unlink(missing_ok=True)
    return sustained


def decide(plan: RunPlan, sustained: Mapping[str, float]) -> Pace:
    """Rate and TTL for a plan, from the requests/s that each release sustains, by name.

    Raises:
        TooSlowError: any of them sustains less than `LEAST_PER_S`, whatever its share.
    """
    slow = [name for name, per_s in sustained.items() if per_s < LEAST_PER_S]
    if slow:
        worst = min(slow, key=lambda name: sustained[name])
        raise TooSlowError(
            f"The release [{worst}] sustains [{sustained[worst]:.1f}] requests/s on this machine; "
            f"a run needs at least [{LEAST_PER_S:g}]. Use fewer variants or replicas, or stop "
            "other programs that use the CPUs; then run again.",
            sustained,
            slow,
        )
    shares = _shares(plan)
    slowest = min(sustained, key=lambda name: shares[name] * sustained[name])
    found = sustained[slowest]
    needed = least_rate(plan.scenario, plan.keys, plan.ttl_s)
    planned = plan.scenario.load.rate_per_s
    rate, ttl_s = fit(found, shares[slowest], planned, needed, plan.ttl_s)
    return Pace(slowest, found, needed, rate, plan.ttl_s, ttl_s, dict(sustained))


def fit(
    sustained_per_s: float, share: float, planned_per_s: float, needed_per_s: float, ttl_s: float
) -> tuple[float, float]:
    """The rate that a fleet can be driven at, in requests/s, and the TTL for it, in s.

    Args:
        sustained_per_s: what the fleet answered in a closed loop.
        share: of that rate, the part that its target is driven at.
        planned_per_s: upper limit of the rate.
        needed_per_s: the rate that the population needs at this TTL.
        ttl_s: as planned; lower limit of the TTL.

    Returns:
        Rate times TTL is at least the needed rate times the planned TTL. A raised TTL is a whole
        number of seconds, because releases accept no other.
    """
    rate = min(planned_per_s, math.floor(share * sustained_per_s * 10) / 10)
    if rate >= needed_per_s:
        return rate, ttl_s
    return rate, float(math.ceil(ttl_s * needed_per_s / rate))


def at_pace(plan: RunPlan, pace: Pace) -> RunPlan:
    """The plan with another arrival rate and TTL, the same for all its variants."""
    load = plan.scenario.load.model_copy(update={"rate_per_s": pace.rate_per_s})
    ttl_s = pace.ttl_s / plan.scenario.time_scale
    scenario = plan.scenario.model_copy(update={"load": load, "ttl_s": ttl_s})
    return replace(
        plan,
        scenario=scenario,
        sizing=tuple(sizing(scenario, plan.keys, pace.ttl_s)),
        settings=replace(plan.settings, ttl_s=pace.ttl_s),
    )


def sentences(plan: RunPlan, pace: Pace) -> list[str]:
    """The pace in sentences. ``plan`` is the run's plan, before or after `at_pace`."""
    found = (
        f"The slowest release, {pace.slowest}, sustains {pace.sustained_per_s:.0f} requests/s here "
        f"in a closed loop; the load of every variant is {pace.rate_per_s:g} requests/s."
    )
    if not pace.raised:
        return [found]
    driven = at_pace(plan, pace)
    planned_s = driven.load_s * pace.planned_ttl_s / pace.ttl_s
    least = plan.scenario.limits.min_requests_per_object
    return [
        found,
        (
            f"That is less than the {pace.needed_per_s:.0f} requests/s that this population needs "
            f"at a TTL of {pace.planned_ttl_s:g} s, so the TTL of every variant is "
            f"{pace.ttl_s:g} s instead: each object is still requested at least {least:g} times "
            f"per TTL. A window lasts {driven.window_s:g} s, and all load together about "
            f"{driven.load_s / 60:.1f} min instead of {planned_s / 60:.1f} min. Times that a "
            "release hard-codes stay as they are."
        ),
    ]


def _paced(plan: RunPlan) -> bool:
    return bool(_shares(plan)) and plan.scenario.load.model == "open"


def _shares(plan: RunPlan) -> dict[str, float]:
    """The share of its sustained rate that each variant is driven at, if its target has one."""
    # Phases of a rollout share a fleet, which begins with the first.
    shares = {arms[0].name: arms[0].target.pace_share for arms in plan.fleets().values()}
    return {name: share for name, share in shares.items() if share is not None}


def _command(plan: RunPlan, observer: Observer, keys_file: str, duration_s: float) -> WindowCommand:
    load = plan.scenario.load
    return WindowCommand(
        window=f"pace-{observer.fleet.name}",
        hosts=list(observer.fleet.replica_urls),
        keys_file=keys_file,
        model="closed",
        duration_s=duration_s,
        mix={str(scope): weight for scope, weight in load.mix.items()},
        users=_USERS,
        seed=plan.scenario.seed,
        timeout_s=max(load.timeout_s, 30.0),
    )
