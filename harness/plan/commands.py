"""What the load driver does for each window, decided by plan and slot alone.

docs/method.md promises: all variants of a round get the same arrivals, every round gets others, the
warm-up gets others than the window that it precedes, a cold fill lasts one TTL and a window a whole
number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.domain.window import WindowCommand
from harness.plan.plan import RunPlan, Slot


@dataclass(frozen=True, slots=True)
class SlotCommands:
    """The load of one slot."""

    warmup: WindowCommand | None
    """Load before the window that nothing is measured of; None where there is none."""
    window: WindowCommand


def commands(
    plan: RunPlan, slot: Slot, hosts: Sequence[str], keys_file: Path, samples_dir: Path
) -> SlotCommands:
    """The load of a slot, in the order in which it is driven.

    Args:
        plan: as it is driven.
        slot: of the plan.
        hosts: base URLs of the replicas of the slot's variant.
        keys_file: where the driver finds the keys of the run.
        samples_dir: where the samples of the window go.
    """
    load, cold = plan.scenario.load, slot.phase == "cold_fill"
    common = WindowCommand(
        window=slot.name,
        hosts=list(hosts),
        keys_file=str(keys_file),
        model=load.model,
        duration_s=plan.ttl_s if cold else plan.window_s,
        mix={str(scope): weight for scope, weight in load.mix.items()},
        users=load.users,
        rate_per_s=load.rate_per_s,
        ramp_s=load.ramp_s * plan.scenario.time_scale,
        # By the round and not by the variant. The last digit belongs to the warm-up.
        seed=plan.scenario.seed * 10_000 + slot.round * 10,
        late_ms=plan.scenario.limits.late_ms,
        timeout_s=load.timeout_s,
        samples_file=str(samples_dir / f"{slot.name}.csv.gz"),
    )
    if cold or not load.warmup_ttls:
        return SlotCommands(None, common)
    warmup = common.model_copy(
        update={
            "window": f"{slot.name}-warmup",
            "duration_s": load.warmup_ttls * plan.ttl_s,
            "seed": common.seed + 1,
            "samples_file": None,
        }
    )
    return SlotCommands(warmup, common)
