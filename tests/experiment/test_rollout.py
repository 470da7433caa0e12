"""How replicas get their successors under load, with a driver and a stack that only say so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from harness.authcache.variants import load_variants
from harness.domain.window import WindowCommand, WindowResult
from harness.errors import InvalidRunError, SetupError
from harness.experiment.measure import Windows
from harness.experiment.rollout import Rolling
from harness.observe.snapshots import Observer
from harness.plan.arms import reference_arm
from harness.plan.plan import RolloutPlan
from harness.plan.rollout import plan_rollout
from harness.scenario.loader import Changes, load_scenario
from harness.stack.base import Fleet
from harness.targets.base import Target
from tests.observe.build import evidence
from tests.silence import Silence

OLD, NEW = "litellm_1_84", "recommended"
HOSTS = tuple(f"http://127.0.0.1:{number}" for number in (1, 2, 3, 4))
ARMS = [reference_arm(load_variants()[name]) for name in (OLD, NEW)]


@dataclass
class World:
    """The driver, the stack, its host and the observer of one fleet."""

    drained: bool = False
    takes: int = 2
    """Stretches of load that pass before a successor is ready."""
    fails: Exception | None = None
    commands: list[WindowCommand] = field(default_factory=list)
    replaced: list[tuple[int, str]] = field(default_factory=list)
    anew: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        rollout = RolloutPlan(OLD, NEW, drained=self.drained)
        scenario = load_scenario("rollout", Changes(replicas=4))
        self.plan = plan_rollout(scenario, ARMS, rollout, stack="embedded")
        self.fleet = Fleet(self.plan.fleet(self.plan.arms[0]), HOSTS, (), (), "", "", None)
        self.turn = asyncio.Condition()
        windows: Any = Windows(
            plan=self.plan,
            run_dir=Path("nowhere"),
            stack=cast("Any", self),
            driver=cast("Any", self),
            observers={},
            companions=cast("Any", None),
            progress=Silence(),
            start=0.0,
        )
        self.rolling = Rolling(windows, rollout, {})

    @property
    def host(self) -> World:
        return self

    async def replace_replica(self, fleet: Fleet, index: int, *, target: Target) -> None:
        if self.fails is not None:
            raise self.fails
        assert fleet is self.fleet
        async with self.turn:
            await self.turn.wait_for(lambda: len(self.commands) >= self.takes)
        self.replaced.append((index, target.members[index]))

    async def window(self, command: WindowCommand) -> WindowResult:
        self.commands.append(command)
        async with self.turn:
            self.turn.notify_all()
        for _ in range(5):
            await asyncio.sleep(0)  # what waits goes on
        generator = {"unanswered": {"connection_refused": 3}, "statuses": {"team": {"200": 97}}}
        return evidence(generator=generator).generator

    def read_anew(self, index: int) -> None:
        self.anew.append(index)

    async def go(self, phase: int) -> list[Any]:
        slot, arm = self.plan.slots[phase], self.plan.arms[phase]
        return await self.rolling._turn(cast("Observer", self), arm.target, slot)


async def test_the_first_phase_replaces_nothing() -> None:
    world = World()

    assert await world.go(0) == []
    assert world.commands == []


async def test_only_what_has_to_run_something_else_is_replaced() -> None:
    world = World()

    await world.go(1)
    await world.go(2)

    assert world.replaced == [(0, NEW), (1, NEW)]
    assert world.anew == [0, 1]
    assert world.fleet.spec.target.members == (NEW, NEW, OLD, OLD)


async def test_load_goes_on_until_the_successor_is_ready_and_one_stretch_longer() -> None:
    world = World(takes=3)

    (one,) = await world.go(1)

    assert len(world.commands) == 4
    assert one.requests == 400
    assert one.unanswered == {"connection_refused": 12}
    assert one.statuses == {"200": 388}
    assert (one.replica, one.variant) == (0, NEW)
    assert len({command.seed for command in world.commands}) == 4
    assert {command.samples_file for command in world.commands} == {None}


@pytest.mark.parametrize(("drained", "hosts"), [(False, HOSTS), (True, HOSTS[1:])])
async def test_a_drained_replica_gets_no_load_meanwhile(
    drained: bool, hosts: tuple[str, ...]
) -> None:
    world = World(drained=drained)

    await world.go(1)

    assert {tuple(command.hosts) for command in world.commands} == {hosts}


async def test_a_successor_that_does_not_come_up_makes_the_run_invalid() -> None:
    world = World(fails=SetupError("It ended before it was ready."))

    with pytest.raises(
        InvalidRunError, match=r"\[0\] did not come up as \[recommended\]. It ended"
    ):
        await world.go(1)
