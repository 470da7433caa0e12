"""What a run will do: which fleets, which windows, in which order."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.domain.changes import ACTIONS, Way
from harness.domain.faults import FAULTS, PlannedFault
from harness.domain.population import VirtualKey
from harness.domain.result import Phase, Sizing
from harness.errors import ScenarioError
from harness.scenario.schema import Scenario
from harness.scenario.sizing import (
    changing,
    check_sizing,
    check_users,
    each_change,
    off_beat,
    population,
    probe_every_s,
    refusals,
    sizing,
)
from harness.stack.base import FleetSpec
from harness.targets.base import Target
from harness.targets.mixed import Schema
from harness.targets.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant of a run with the target that runs it."""

    name: str
    """The variant's name."""
    title: str
    target: Target


@dataclass(frozen=True, slots=True)
class Slot:
    """One window of the plan."""

    number: int
    """From 1, over the whole run."""
    variant: str
    phase: Phase
    round: int
    """0 where the phase has no rounds."""
    batch: int = 0
    """Of changes, from 1; 0 in any other phase."""
    fault: int = 0
    """Number of the fault of ``faults`` and ``recovered``, from 1; 0 in any other phase."""

    @property
    def name(self) -> str:
        """Unique in a run; names sort in order of time."""
        return f"{self.number:02d}-{self.phase}-{self.variant}"


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One change of one key, the same in every variant."""

    number: int
    """As `harness.domain.changes.ChangeEvent.number`."""
    action: str
    way: Way
    key: VirtualKey
    handler: int
    """Index of the replica that takes a call."""
    at_s: float
    """Since the start of the window."""
    asked_s: float | None = None
    """When the one worker is asked that tells of an idle key; None for a key in use."""
    asked: int = 0
    """Index of the replica of that worker."""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """Two variants, one of which takes the other's place in a fleet: `harness.plan.rollout`."""

    old: str
    new: str
    schema: Schema = "newer"
    drained: bool = False
    """Whether the balancer takes a replica out before it is ended."""

    @property
    def fleet(self) -> str:
        """Name of the fleet."""
        return f"{self.old}+{self.new}"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run, decided before anything is started."""

    scenario: Scenario
    arms: tuple[Arm, ...]
    stack: str
    keys: tuple[VirtualKey, ...]
    """The scenario's; the load of measured windows."""
    sizing: tuple[Sizing, ...]
    slots: tuple[Slot, ...]
    """Up to the scenario's ``rounds_max``; a run that may stop early does not drive them all."""
    settings: RunSettings
    refusals: tuple[VirtualKey, ...] = ()
    """Keys that must be refused and their likes, numbered after ``keys``; they are driven in a
    window of their own."""
    changing: tuple[VirtualKey, ...] = ()
    """A key for each change, numbered after ``refusals``; they are driven in windows of their
    own."""
    rollout: RolloutPlan | None = None
    """Given, the arms are its phases, in order of time."""

    @property
    def all_keys(self) -> tuple[VirtualKey, ...]:
        """Every key that Postgres may know; the index of a key is its place here."""
        return self.keys + self.refusals + self.changing

    @property
    def ttl_s(self) -> float:
        """Time to live after scaling."""
        return self.settings.ttl_s

    def promise_s(self, *, redis: bool) -> float:
        """How old an answer may be by what the operator set, in s.

        One TTL in each tier and the time of one read, which a planted slow source prolongs. What a
        release hard-codes may be more, and is not promised.
        """
        read_s = READ_S + self.settings.source_latency_ms / 1000
        return self.ttl_s * (2 if redis else 1) + read_s

    def kept_by_code_s(self, arm: Arm) -> float:
        """How long an arm's code keeps an object, hard-coded times included, in s."""
        settings = self.settings
        return arm.target.kept_by_code_s(
            settings.ttl_s, time_scale=settings.time_scale, management_ttl=settings.management_ttl
        )

    @property
    def window_s(self) -> float:
        """Length of a measured window: a whole number of TTLs."""
        return self.scenario.load.window_ttls * self.ttl_s

    def warmup_s(self, slot: Slot) -> float:
        """Length of the load before a slot's window, in s; 0 for none.

        The first load finds cold caches and reads every object at once, after which they expire
        together. A window that began a whole number of TTLs later would hold window / TTL reads of
        each object whatever the cache does. So each round adds a part of a TTL, drawn from the
        seed, and the same for all its variants.
        """
        ttls = self.scenario.load.warmup_ttls
        if slot.phase != "measured" or not ttls:
            return 0.0
        phase = random.Random(f"{self.scenario.seed}:phase:{slot.round}").random()
        return (ttls + phase) * self.ttl_s

    @property
    def refusals_s(self) -> float:
        """Length of a window of refusals, in s: enough for each key, and one TTL at most."""
        rate = self.scenario.load.rate_per_s
        enough_s = REFUSALS_EACH * len(self.refusals) / rate if rate else math.inf
        return min(self.ttl_s, enough_s)

    @property
    def changes_s(self) -> float:
        """Length of a window of changes, in s."""
        return self.scenario.changes.window_ttls * self.ttl_s

    def planned_changes(self, batch: int) -> tuple[PlannedChange, ...]:
        """The changes of a batch, in order of time.

        Those without a moment of their own get one each from equal parts of the spread, at random
        within it and in random order: entries of every age are met, and two changes seldom
        coincide.
        """
        window = self.scenario.changes
        rng = random.Random(f"{self.scenario.seed}:changes:{batch}")
        changes = each_change(self.scenario)
        pairs = list(zip(changes, self.changing[: len(changes)], strict=True))
        before = sum(change.batch < batch for change, _ in pairs)
        mine = [(change, key) for change, key in pairs if change.batch == batch]
        parts = list(range(sum(change.at_ttls is None for change, _ in mine)))
        rng.shuffle(parts)
        part_ttls = window.spread_ttls / len(parts) if parts else 0.0
        planned: list[PlannedChange] = []
        for change, key in mine:
            # Drawn for every change, so that one that is given does not move the others.
            handler, within = rng.randrange(self.scenario.replicas), rng.random()
            at_ttls = change.at_ttls
            if at_ttls is None:
                at_ttls = window.lead_ttls + (parts.pop() + within) * part_ttls
            taken_by = handler if change.handler == "random" else change.handler
            one = PlannedChange(0, change.action, change.way, key, taken_by, at_ttls * self.ttl_s)
            if change.idle_ttls is not None:
                away = int(change.idle_asks == "others")
                one = replace(
                    one,
                    asked_s=one.at_s + change.idle_ttls * self.ttl_s,
                    asked=(taken_by + away) % self.scenario.replicas,
                )
            planned.append(one)
        planned.sort(key=lambda one: one.at_s)
        return tuple(replace(one, number=before + n) for n, one in enumerate(planned, start=1))

    @property
    def faults(self) -> tuple[PlannedFault, ...]:
        """The scenario's faults, in its order: each has a window for every variant."""
        return tuple(map(self.planned_fault, range(1, len(self.scenario.fault) + 1)))

    def planned_fault(self, number: int) -> PlannedFault:
        """A fault by its number, from 1.

        With a release, one that shows only once entries have expired lasts longer where it must:
        until memory has expired, and then as long as a release was seen to wait for Redis.
        """
        entry, window = self.scenario.fault[number - 1], self.scenario.faults
        for_s = entry.for_s
        releases = any(arm.target.pace_share is not None for arm in self.arms)
        if releases and FAULTS[entry.what].hides:
            for_s = max(for_s, self.ttl_s + WAITED_S)
        at_s = window.lead_s if entry.at_s is None else entry.at_s
        values = entry.model_dump(exclude={"at_s", "for_s"})
        return PlannedFault(number=number, at_s=at_s, for_s=for_s, **values)

    def spared(self, number: int) -> dict[str, str]:
        """The variants that a fault cannot touch, with the reason: they get no window of it."""
        what = self.planned_fault(number).what
        if FAULTS[what].part != "redis":
            return {}
        reasons = {arm.name: _out_of_reach(what, arm.target) for arm in self.arms}
        return {name: reason for name, reason in reasons.items() if reason}

    def fault_s(self, number: int) -> float:
        """Length of the window of a fault, in s."""
        window = self.scenario.faults
        return window.window_s or self.mended_s(self.planned_fault(number)) + window.tail_s

    def mended_s(self, fault: PlannedFault) -> float:
        """When a fault is over by plan, in s since the start of its window."""
        kind, restart_s = FAULTS[fault.what], 0.0
        if kind.replaces:
            restart_s = fault.new_after_s + self.scenario.faults.start_s
        elif kind.part == "postgres" and kind.forgets:
            restart_s = POSTGRES_STARTS_S
        return fault.at_s + fault.for_s + restart_s

    def fault_changes(self, number: int) -> tuple[PlannedChange, ...]:
        """The changes that are made in the middle of a fault.

        A replica takes them that the fault does not work on, where there is one.
        """
        fault, wanted = self.planned_fault(number), self.scenario.faults.changes
        before = len(each_change(self.scenario)) + (number - 1) * len(wanted)
        handler = (fault.replica + 1) % self.scenario.replicas
        at_s = fault.at_s + fault.for_s / 2
        return tuple(
            PlannedChange(
                before + n, change.action, "api", self.changing[before + n - 1], handler, at_s
            )
            for n, change in enumerate(wanted, start=1)
        )

    @property
    def refused_in_faults(self) -> tuple[VirtualKey, ...]:
        """Keys that are probed during a fault because they must be refused: one of each kind."""
        kinds = {key.kind: key for key in reversed(self.refusals) if key.kind in REFUSED}
        return tuple(kinds[kind] for kind in REFUSED if kind in kinds)

    def probe_every_s(self, keys: int) -> float:
        """The distance of two probes of each of these keys on a worker, in s, while keys change."""
        scenario = self.scenario
        probes = keys * scenario.replicas * scenario.workers
        return probe_every_s(scenario.changes, self.ttl_s, probes, scenario.load.rate_per_s)

    def fault_probes(self, number: int) -> tuple[list[int], float]:
        """The keys that are probed during a fault, and how often each is on a replica, in s."""
        keys = [change.key.index for change in self.fault_changes(number)]
        keys += [key.index for key in self.refused_in_faults]
        each = len(keys) * self.scenario.replicas
        every_s = max(
            1 / self.scenario.faults.probes_per_s,
            each / (PROBES_SHARE * self.scenario.load.rate_per_s),
        )
        return sorted(keys), off_beat(every_s, self.ttl_s)

    def probes_per_s(self, number: int) -> float:
        """Requests a second beside the load of a fault."""
        keys, every_s = self.fault_probes(number)
        return len(keys) * self.scenario.replicas / every_s

    @property
    def recovered_s(self) -> float:
        """Length of the window after a fault, in s."""
        return self.scenario.faults.recovered_ttls * self.ttl_s

    @property
    def measured_phase(self) -> Phase:
        """The phase without which a variant counts as not measured."""
        if self.scenario.faults.alone:
            return "faults"
        return "changes" if self.scenario.changes.alone else "measured"

    @property
    def load_s(self) -> float:
        """Length of all windows and warm-ups together, in s, without starts and waits for rest."""
        return sum(self.warmup_s(slot) + self.slot_s(slot) for slot in self.slots)

    def slot_s(self, slot: Slot) -> float:
        """Length of a window without its warm-up, in s."""
        match slot.phase:
            case "cold_fill":
                return self.ttl_s
            case "measured":
                return self.window_s
            case "changes":
                return self.changes_s
            case "refusals":
                return self.refusals_s
            case "faults":
                return self.fault_s(slot.fault)
            case "recovered":
                return self.recovered_s

    @property
    def premises(self) -> list[str]:
        """What is planted, in words; empty when nothing is."""
        shifted = [
            f"The TTL of {arm.name} is {times:g} times what it claims to be."
            for arm in self.arms
            if (times := self.scenario.premises.ttl_times.get(arm.name, 1.0)) != 1.0
        ]
        planted = [NULL_USER] if self.planted_null_user else []
        latency_ms = self.settings.source_latency_ms
        if latency_ms and any(arm.target.takes_premises for arm in self.arms):
            planted.append(SLOW_SOURCE.format(latency_ms))
        return [*planted, *shifted]

    @property
    def planted_null_user(self) -> bool:
        """Whether the premise that expectations name is planted in any arm."""
        planted = self.scenario.premises.null_user_for_team_keys
        return planted and any(arm.target.takes_premises for arm in self.arms)

    def arm_settings(self, arm: Arm) -> RunSettings:
        """The settings of one arm, with premises if its target takes them."""
        times = self.scenario.premises.ttl_times.get(arm.name, 1.0)
        settings = replace(self.settings, ttl_s=self.settings.ttl_s * times)
        if arm.target.takes_premises:
            return settings
        return replace(settings, planted_null_user=False, source_latency_ms=0.0)

    def fleets(self) -> dict[str, list[Arm]]:
        """The arms by the fleet that they share: each has its own, but for phases of a rollout."""
        if self.rollout is not None:
            return {self.rollout.fleet: list(self.arms)}
        return {arm.name: [arm] for arm in self.arms}

    def fleet(self, arm: Arm) -> FleetSpec:
        """What the stack is to start for an arm."""
        return FleetSpec(
            name=arm.name if self.rollout is None else self.rollout.fleet,
            target=arm.target,
            replicas=self.scenario.replicas,
            workers=self.scenario.workers,
            settings=self.arm_settings(arm),
        )


RECOVERY_S = 3.0
"""Seconds after a fault that must be good before a variant counts as recovered."""

POSTGRES_STARTS_S = 5.0
"""How long a Postgres that was killed takes, on a busy machine, to be in order again."""

READ_S = 0.1
"""The time of one source read, generously: a local Postgres answers in a few ms."""

WAITED_S = 25.0
"""The longest that a release was seen to wait for a Redis that hangs before it goes on without: the
first request of 1.109.1."""

REFUSED = ("unknown", "blocked", "wrong_model", "key_budget")
"""Kinds of keys of `harness.domain.population.KINDS` that are asked for during a fault."""

PROBES_SHARE = 0.5
"""Of the load's rate, the part that probes may add during a fault."""

REFUSALS_EACH = 30
"""Requests of each key that make a window of refusals long enough: with as many and none let
through, 95 % of the time fewer than 10 % of such requests would be."""

NULL_USER = (
    "For a team key without a user the auth path looks a user up, under the key's "
    "alias, and takes the all-NULL row of a LEFT JOIN for one without validating it. No "
    "LiteLLM release does this: releases return early on user_id None and show no failure in "
    "scope team."
)
SLOW_SOURCE = (
    "Every read of an object from Postgres takes {:g} ms longer: the reference proxy waits that "
    "long for the row it has read."
)


def make_plan(scenario: Scenario, arms: Sequence[Arm], *, stack: str) -> RunPlan:
    """Plan a run. Raises ScenarioError if the load is too thin for the population."""
    ttl_s = scenario.ttl_s * scenario.time_scale
    keys = population(scenario)
    rows = sizing(scenario, keys, ttl_s)
    check_sizing(scenario, rows)
    settings = RunSettings(
        ttl_s=ttl_s,
        time_scale=scenario.time_scale,
        planted_null_user=scenario.premises.null_user_for_team_keys,
        source_latency_ms=scenario.premises.source_latency_ms * scenario.time_scale,
        mock_latency_ms=scenario.mock.latency_ms,
        mock_completion_tokens=scenario.mock.completion_tokens,
        management_ttl=scenario.with_releases.management_ttl,
        cost_micro=scenario.mock.cost_micro,
    )
    names = [arm.name for arm in arms]
    most = scenario.rounds_max or scenario.rounds
    alone, faults = scenario.changes.alone, range(1, len(scenario.fault) + 1)
    slots = order(
        names,
        most,
        cold_fill=scenario.load.cold_fill,
        batches=() if scenario.faults.alone else scenario.batches(),
        only_batches=alone or scenario.faults.alone,
        faults=faults,
    )
    refused = () if alone and not faults else tuple(refusals(scenario, keys))
    plan = RunPlan(
        scenario,
        tuple(arms),
        stack,
        tuple(keys),
        tuple(rows),
        slots,
        settings,
        refused,
        tuple(changing(scenario, first=len(keys) + len(refused))),
    )
    _check_faults(plan)
    touched = [
        slot for slot in slots if not slot.fault or slot.variant not in plan.spared(slot.fault)
    ]
    return replace(
        plan, slots=tuple(replace(slot, number=n) for n, slot in enumerate(touched, start=1))
    )


def _out_of_reach(what: str, target: Target) -> str:
    """Why a fault of Redis cannot touch a target; empty where it can, or may."""
    if not target.uses_redis:
        return "it uses no Redis"
    heard = {target.broadcasts(action) for action in ACTIONS}
    if what == "redis-unsubscribe" and False in heard and True not in heard:
        return "by its code no worker hears of a change from another"
    return ""


def _check_faults(plan: RunPlan) -> None:
    """Raises ScenarioError."""
    names = [fault.name for fault in plan.faults]
    for fault in plan.faults:
        check_users(plan.scenario, fault, plan.probes_per_s(fault.number))
        spared = plan.spared(fault.number)
        if len(spared) == len(plan.arms):
            reasons = "; ".join(f"[{name}]: {reason}" for name, reason in spared.items())
            raise ScenarioError(
                f"The fault [{fault.name}] touches none of the variants: {reasons}. Leave it out, "
                "or add a variant that it touches."
            )
        if names.count(fault.name) > 1:
            raise ScenarioError(
                f"The fault [{fault.name}] is there [{names.count(fault.name)}] times, and each "
                "has a window and a cell of its own in the sheet. Leave the others out, or put "
                "them into a scenario of their own."
            )
        window_s, least_s = plan.fault_s(fault.number), plan.mended_s(fault) + RECOVERY_S
        if window_s < least_s:
            raise ScenarioError(
                f"The fault [{fault.name}] does not fit its window of [{window_s:g}] s: it is over "
                f"after [{plan.mended_s(fault):g}] s, and recovery is seen in the [{RECOVERY_S:g}] "
                f"s after it. Raise faults.window_s to {least_s:g}, leave it out, or shorten the "
                "fault."
            )


def order(
    names: Sequence[str],
    rounds: int,
    *,
    cold_fill: bool,
    batches: Sequence[int] = (),
    only_batches: bool = False,
    faults: Sequence[int] = (),
) -> tuple[Slot, ...]:
    """Windows in order of time: cold fills, then A B C, C B A, …, changes, refusals, faults.

    The order reverses after every round, so that a drift of the machine does not favour a variant
    for its place in the order. Each batch of changes has a window for every variant. Refusals come
    after what is measured: some variants read a refused key once more, for a log, which in a
    measured window would count as a read of its scope. Faults come last, and each is followed by a
    window of recovery before the next.

    Args:
        names: of the variants.
        rounds: measured windows of each.
        cold_fill: whether each begins with one.
        batches: of changes.
        only_batches: leave out cold fills, rounds and refusals.
        faults: their numbers.
    """
    steps: list[tuple[str, Phase, int, int, int]] = []
    if cold_fill and not only_batches:
        steps += [(name, "cold_fill", 0, 0, 0) for name in names]
    for number in range(1, 1 if only_batches else rounds + 1):
        row = names if number % 2 else list(reversed(names))
        steps += [(name, "measured", number, 0, 0) for name in row]
    steps += [(name, "changes", 0, batch, 0) for batch in batches for name in names]
    if not only_batches:
        steps += [(name, "refusals", 0, 0, 0) for name in names]
    phases: tuple[Phase, Phase] = ("faults", "recovered")
    steps += [(name, phase, 0, 0, n) for n in faults for name in names for phase in phases]
    return tuple(Slot(i, *step) for i, step in enumerate(steps, start=1))


def facts(plan: RunPlan) -> dict[str, Any]:
    """The plan as ``manifest.json`` has it."""
    return {
        "scenario": plan.scenario.model_dump(mode="json", by_alias=True),
        "variants": {arm.name: dict(arm.target.describe()) for arm in plan.arms},
        "windows": [slot.name for slot in plan.slots],
        **driven(plan),
        "keys": {row.scope: row.keys for row in plan.sizing},
    }


def driven(plan: RunPlan) -> dict[str, float]:
    """Rate, TTL and window, which a run with releases may change once it has found their pace."""
    return {
        "rate_per_s": plan.scenario.load.rate_per_s,
        "ttl_s": plan.ttl_s,
        "window_s": plan.window_s,
    }
