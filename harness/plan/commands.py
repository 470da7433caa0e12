"""The load driver's command for each window, which depends on plan and slot alone.

docs/method.md promises: all variants of a round get the same arrivals, each round gets different
ones, a warm-up gets different ones from its window and lasts equally long for all variants of a
round, a cold fill lasts one TTL, and a measured window lasts a whole number of TTLs. The window of
refusals drives the keys that test them, each equally often; a window of changes probes the keys
that it changes, each regularly on every worker, but idle ones. Regular arrivals are planned here,
as probes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.domain.window import SingleProbe, WindowCommand, warmup_name
from harness.load.plan import key_shares_of
from harness.plan.plan import PlannedChange, RunPlan, Slot
from harness.scenario.sizing import users_needed


@dataclass(frozen=True, slots=True)
class SlotCommands:
    """The load of one slot."""

    warmup: WindowCommand | None
    """Load before the window, which is not measured; None for no warm-up."""
    window: WindowCommand


def commands(
    plan: RunPlan, slot: Slot, hosts: Sequence[str], keys_file: Path, samples_dir: Path
) -> SlotCommands:
    """The load of a slot, in the order in which it is driven.

    Args:
        plan: with the rate and TTL that are driven.
        slot: of the plan.
        hosts: base URLs of the replicas of the slot's variant.
        keys_file: the keys of the run.
        samples_dir: where the samples of the window are written.
    """
    load, cold = plan.scenario.load, slot.phase == "cold_fill"
    common = WindowCommand(
        window=slot.name,
        hosts=list(hosts),
        keys_file=str(keys_file),
        model=load.model,
        duration_s=plan.ttl_s if cold else plan.window_s,
        mix={str(scope): weight for scope, weight in load.mix.items()},
        key_weights=load.key_weights,
        zipf=load.zipf,
        users=load.users,
        rate_per_s=load.rate_per_s,
        ramp_s=load.ramp_s * plan.scenario.time_scale,
        # Depends on the round and not on the variant. The last digit is for the warm-up
        # and the refusals.
        seed=plan.scenario.seed * 10_000 + slot.round * 10,
        late_ms=plan.scenario.limits.late_ms,
        timeout_s=load.timeout_s,
        samples_file=str(samples_dir / f"{slot.name}.csv.gz"),
    )
    if slot.phase == "refusals":
        each = Counter(key.seen_scope for key in plan.refusals)
        changes = {
            "refusals": True,
            "mix": dict(each),
            "key_weights": [],
            "zipf": 0.0,
            "duration_s": plan.refusals_s,
            "seed": common.seed + 2,
        }
        return SlotCommands(None, common.model_copy(update=changes))
    if slot.phase == "changes":
        return SlotCommands(None, _probes(plan, slot, common))
    if slot.phase == "faults":
        return SlotCommands(None, _beside(plan, slot, common))
    if slot.phase == "recovered":
        changes = {"duration_s": plan.recovered_s, "seed": common.seed + 5 + slot.fault * 10}
        return SlotCommands(None, common.model_copy(update=changes))
    if not plan.warmup_s(slot):
        return SlotCommands(None, _arriving(plan, common))
    warmup = common.model_copy(
        update={
            "window": warmup_name(slot.name),
            "duration_s": plan.warmup_s(slot),
            # Else all objects of a cold fleet are read at once, and would expire together.
            "stagger_s": plan.ttl_s,
            "seed": common.seed + 1,
            "samples_file": str(samples_dir / f"{warmup_name(slot.name)}.csv.gz"),
        }
    )
    return SlotCommands(_arriving(plan, warmup), _arriving(plan, common))


def _arriving(plan: RunPlan, command: WindowCommand) -> WindowCommand:
    """The command with its arrivals, where they are regular."""
    if plan.scenario.load.arrivals == "poisson":
        return command
    return command.model_copy(update={"single_probes": list(_regular(plan, command))})


def _regular(plan: RunPlan, command: WindowCommand) -> Iterator[SingleProbe]:
    """Requests of each key at equal distances, by its share of the rate, from its start on.

    The distance of two requests of a key is more than the time of one at the rates that a pace
    allows: two seldom miss together, and the arrivals of all keys do not coincide.
    """
    load, rng = plan.scenario.load, random.Random(f"{command.seed}:regular")
    total = sum(load.mix.values())
    shares = {
        index: weight / total * share
        for scope, weight in load.mix.items()
        for index, share in key_shares_of(
            scope,
            [key.index for key in plan.keys if key.scope == scope],
            load.key_weights,
            load.zipf,
        ).items()
    }
    hosts = len(command.hosts)
    for place, index in enumerate(rng.sample(sorted(shares), len(shares))):
        every_s = 1 / (load.rate_per_s * shares[index])
        begins_s, turn = rng.uniform(0.0, command.stagger_s), rng.randrange(hosts)
        at_s = (place + 0.5) / len(shares) * every_s
        while at_s < command.duration_s:
            if at_s >= begins_s:
                yield SingleProbe(key=index, replica=turn % hosts, at_s=at_s)
                turn += 1
            at_s += every_s


def _beside(plan: RunPlan, slot: Slot, common: WindowCommand) -> WindowCommand:
    """The ordinary load of a fault, with probes of the keys that change and of some to refuse."""
    window, fault = plan.scenario.faults, plan.planned_fault(slot.fault)
    probed, every_s = plan.fault_probes(slot.fault)
    users = users_needed(plan.scenario, fault, plan.probes_per_s(slot.fault))
    changes = {
        "duration_s": plan.fault_s(slot.fault),
        "seed": common.seed + 4 + slot.fault * 10,
        # The rate may be less than planned and the fault longer, if a release takes part.
        "users": max(common.users, users),
        "probe_keys": probed,
        "probe_every_s": every_s,
        "beside": True,
        "balancer": window.balancer,
        "drop_after_s": window.probe_after_s,
        "health_path": next(a.target for a in plan.arms if a.name == slot.variant).readiness_path,
    }
    return common.model_copy(update=changes)


def _probes(plan: RunPlan, slot: Slot, common: WindowCommand) -> WindowCommand:
    planned = plan.planned_changes(slot.batch)
    keys = [change.key.index for change in planned if change.asked_s is None]
    # A balanced fleet has one address for all of its replicas.
    workers = plan.scenario.replicas * plan.scenario.workers // len(common.hosts)
    probes = len(keys) * len(common.hosts) * workers
    every_s = plan.probe_every_s(len(keys))
    changes = {
        "model": "open",
        "mix": {},
        "key_weights": [],
        "zipf": 0.0,
        "ramp_s": 0.0,
        "rate_per_s": round(probes / every_s, 3),
        "duration_s": plan.changes_s,
        # Of a batch, and the same for all variants.
        "seed": common.seed + 3 + slot.batch * 10,
        "probe_keys": sorted(keys),
        "probe_every_s": every_s,
        "single_probes": [
            probe
            for change in planned
            for probe in _of_idle(change, plan.ttl_s, len(common.hosts), workers)
        ],
        "workers": workers,
    }
    return common.model_copy(update=changes)


WARM_TTLS = 0.25
"""Workers have a copy of an idle key from so long before its change on, and from half of it."""
WARM_PER_WORKER = 3
"""Requests for an idle key before its change, for each worker of a host with several: the system
chooses which takes one. A worker that got none is not measured."""


def _of_idle(
    change: PlannedChange, ttl_s: float, hosts: int, workers: int
) -> Iterator[SingleProbe]:
    """Every request for an idle key: some that leave a copy in each worker, and the one after.

    The host that is asked after the change is the last before it: like most workers of a large
    fleet it takes its copy from Redis, where one has put it that read the source.
    """
    if change.asked_s is None:
        return
    key = change.key.index
    each = WARM_PER_WORKER * workers if workers > 1 else 1
    for number in range(hosts * each):
        before_s = WARM_TTLS * ttl_s * (1 - number / (hosts * each) / 2)
        replica = (change.asked + 1 + number) % hosts
        yield SingleProbe(key=key, replica=replica, at_s=max(0.0, change.at_s - before_s))
    yield SingleProbe(key=key, replica=change.asked % hosts, at_s=change.asked_s)
