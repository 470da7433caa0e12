"""The arrival rate of a run in which a release takes part: what its slowest fleet bears.

A release's proxy bears a fraction of what the reference proxy does, and how much depends on the
machine. Were the planned rate too high, the generator would run late and the run prove nothing. So
each release is asked first, by a short closed loop with keys of its own: the measured keys stay
cold, and what Python imports on a first request is imported by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import InvalidRunError
from harness.experiment.plan import RunPlan
from harness.experiment.seed import seed_population
from harness.load.client import LoadDriver
from harness.load.keys import MOCK_MODEL, make_population, write_keys
from harness.load.protocol import WindowCommand
from harness.observe.snapshots import Observer
from harness.progress import Progress
from harness.scenario.sizing import least_rate, sizing

SHARE = 0.6
"""Of what the slowest fleet bears in a closed loop; the rest is for bursts of an open one."""
_USERS = 8
_ROUNDS_S = (6.0, 4.0)
"""Seconds of the loop that warms the code, and of the one that is measured."""
_SEED_APART = 1_000_003


async def at_bearable_rate(
    plan: RunPlan,
    driver: LoadDriver,
    observers: Mapping[str, Observer],
    folder: Path,
    progress: Progress,
) -> RunPlan:
    """The plan at a rate that every release in it bears; the plan itself where none takes part.

    Args:
        plan: its rate is the most that is driven.
        driver: the load driver.
        observers: by variant; their replicas are up and their databases filled.
        folder: where the keys of the closed loop are kept meanwhile.
        progress: told what happens.

    Raises:
        InvalidRunError: the slowest fleet bears less than the scenario's objects need.
    """
    releases = [arm.name for arm in plan.arms if arm.target.kind == "litellm"]
    if not releases or plan.scenario.load.model != "open":
        return plan
    progress.phase("finding the rate that the slowest release bears")
    keys = make_population(
        dict.fromkeys(plan.scenario.load.mix, 1),
        {},
        seed=plan.scenario.seed + _SEED_APART,
        model=MOCK_MODEL,
    )
    keys_file = folder / "pace-keys.json"
    write_keys(keys_file, keys)
    borne: dict[str, float] = {}
    try:
        for name in releases:
            await seed_population(observers[name].postgres, keys)
            for duration_s in _ROUNDS_S:
                result = await driver.window(
                    _command(plan, observers[name], str(keys_file), duration_s)
                )
                borne[name] = result.answered / result.elapsed_s
            await observers[name].at_rest(timeout_s=60.0)
    finally:
        keys_file.unlink(missing_ok=True)
    return decide(plan, borne, progress)


def decide(plan: RunPlan, borne: Mapping[str, float], progress: Progress) -> RunPlan:
    """The plan at a share of what the slowest release bears, in requests/s by name.

    Raises:
        InvalidRunError: that is less than the scenario's objects need.
    """
    slowest = min(borne, key=lambda name: borne[name])
    planned = plan.scenario.load.rate_per_s
    rate = min(planned, round(SHARE * borne[slowest], 1))
    least = least_rate(plan.scenario, plan.keys, plan.ttl_s)
    if rate < least:
        raise InvalidRunError(
            f"The slowest fleet [{slowest}] bears [{borne[slowest]:.0f}] requests/s on this "
            f"machine, and this population needs [{least / SHARE:.0f}]. "
            "Take fewer variants or replicas, or quiet the machine."
        )
    progress.note(
        f"{rate:g} requests/s: the slowest release, {slowest}, bears {borne[slowest]:.0f} in a "
        f"closed loop."
    )
    return at_rate(plan, rate)


def at_rate(plan: RunPlan, rate_per_s: float) -> RunPlan:
    """The plan with another arrival rate."""
    load = plan.scenario.load.model_copy(update={"rate_per_s": rate_per_s})
    scenario = plan.scenario.model_copy(update={"load": load})
    return replace(plan, scenario=scenario, sizing=tuple(sizing(scenario, plan.keys, plan.ttl_s)))


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
