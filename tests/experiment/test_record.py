"""What a recording leaves behind when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness.archive.directory import KEYS
from harness.authcache.variants import load_variants
from harness.domain.population import read_keys
from harness.errors import InvalidRunError, SetupError, UsageError
from harness.experiment.record import record, rounds
from harness.observe.evidence import Evidence
from harness.plan.arms import reference_arm
from harness.plan.plan import RunPlan, Slot, make_plan
from harness.process.stop import Stop
from harness.scenario.loader import load_scenario
from harness.scenario.schema import Scenario
from harness.stack.base import Stack
from tests.observe.build import evidence
from tests.silence import Silence


def _left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*")]


def _plan() -> RunPlan:
    arms = [reference_arm(load_variants()["recommended"])]
    return make_plan(load_scenario("smoke"), arms, stack="embedded")


class BrokenStack:
    """Cannot open; keeps the secrets that lay on disk when it was asked to."""

    name = "embedded"
    breaks: frozenset[str] = frozenset()

    def __init__(self, run_dir: Path, error: Exception) -> None:
        self.problems = ["one folder could not be removed"]
        self.secrets: list[str] = []
        self.closed = False
        self._keys_file = run_dir / KEYS
        self._error = error

    async def open(self) -> None:
        self.secrets = [key.secret for key in read_keys(self._keys_file)]
        raise self._error

    async def close(self) -> None:
        self.closed = True


async def test_secrets_do_not_outlive_a_run_that_could_not_start(tmp_path: Path) -> None:
    plan, display = _plan(), Silence()
    stack = BrokenStack(tmp_path, SetupError("no Postgres"))
    with pytest.raises(SetupError, match="no Postgres"):
        await record(plan, lambda: cast("Stack", stack), tmp_path, display, Stop())
    assert stack.secrets == [key.secret for key in plan.all_keys]
    assert _left(tmp_path) == []
    assert stack.closed
    assert display.notes == stack.problems


async def test_what_ends_a_run_is_its_problem_and_no_exception(tmp_path: Path) -> None:
    stack = BrokenStack(tmp_path, InvalidRunError("Valkey died."))
    recording = await record(_plan(), lambda: cast("Stack", stack), tmp_path, Silence(), Stop())
    assert str(recording.problem) == "Valkey died."
    assert (recording.complete, recording.interrupted, recording.windows) == (False, False, [])
    assert _left(tmp_path) == []


class StartingStack(BrokenStack):
    """Opens; a replica ends while its fleet starts."""

    async def open(self) -> None:
        self._starting = asyncio.Event()

    def facts(self) -> dict[str, str]:
        return {}

    async def start(self, _: object) -> None:
        self._starting.set()
        await asyncio.Event().wait()

    async def died(self) -> str:
        await self._starting.wait()
        return "The replica exited: ValueError."


@pytest.mark.integration
async def test_a_replica_that_ends_while_its_fleet_starts_makes_no_run(tmp_path: Path) -> None:
    stack = StartingStack(tmp_path, InvalidRunError("never raised"))
    with pytest.raises(SetupError, match=r"ValueError\. Nothing was measured\.$"):
        await record(_plan(), lambda: cast("Stack", stack), tmp_path, Silence(), Stop())
    assert stack.closed


@pytest.mark.parametrize(
    ("least", "most", "enough_at", "driven"),
    [
        (2, None, 1, 2),  # a run without a choice is driven to its end
        (2, 5, 1, 2),
        (2, 5, 4, 4),
        (2, 5, 9, 5),
        (1, 2, 1, 1),
    ],
)
async def test_a_run_goes_on_until_it_knows_enough(
    least: int, most: int | None, enough_at: int, driven: int
) -> None:
    scenario = load_scenario("smoke").model_copy(update={"rounds": least, "rounds_max": most})
    known = load_variants()
    arms = [reference_arm(known[name]) for name in ("recommended", "litellm_1_84")]
    plan = make_plan(scenario, arms, stack="embedded")
    looks: list[int] = []

    async def measure(slot: Slot) -> Evidence:
        return replace(evidence(), variant=slot.variant, round=slot.round, phase=slot.phase)

    def enough(_: RunPlan, windows: Sequence[Evidence]) -> bool:
        looks.append(windows[-1].round)
        last = [w.variant for w in windows if w.round == looks[-1]]
        assert sorted(last) == ["litellm_1_84", "recommended"], "a look between two rounds"
        return looks[-1] >= enough_at

    windows = [window async for window in rounds(plan, measure, enough)]
    assert max(w.round for w in windows) == driven
    last = [(w.phase, w.variant) for w in windows[-2:]]
    assert last == [("refusals", arm.name) for arm in arms], "whenever the rounds end"
    assert len(looks) <= scenario.looks
    assert looks == list(range(least, least + len(looks)))
    both = [window async for window in rounds(plan, measure, None)]
    assert max(w.round for w in both) == (most or least)


async def test_a_stop_ends_the_rounds_even_where_its_cancellation_is_swallowed() -> None:
    plan, stop = _plan(), Stop()
    asked: list[Slot] = []
    told: list[bool] = []

    async def measure(slot: Slot) -> Evidence:
        asked.append(slot)
        if len(asked) == 1:
            stop.ask(signal.SIGINT)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return evidence()

    async def work() -> None:
        async for _ in rounds(plan, measure, None, lambda: bool(told)):
            pass

    assert len(plan.slots) > 1
    await stop.cancels(work(), lambda: told.append(True))
    assert asked == [plan.slots[0]]


def _with_faults(*names: str) -> RunPlan:
    raw = load_scenario("faults-smoke").model_dump(by_alias=True)
    faults = [{"what": name, "for_s": 1.0} for name in names]
    scenario = Scenario.model_validate(raw | {"fault": faults})
    arms = [reference_arm(load_variants()["recommended"])]
    return make_plan(scenario, arms, stack="embedded")


async def test_a_fault_that_the_stack_cannot_do_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    stack = BrokenStack(tmp_path, SetupError("no Postgres"))
    stack.name, stack.breaks = "compose", frozenset({"redis-kill-empty"})
    plan = _with_faults("redis-kill-empty", "redis-flush", "redis-oom")
    with pytest.raises(UsageError) as refused:
        await record(plan, lambda: cast("Stack", stack), tmp_path, Silence(), Stop())
    assert str(refused.value).startswith(
        "The stack [compose] cannot do the faults [redis-flush, redis-oom]; it does "
        "redis-kill-empty."
    )
    assert (stack.secrets, _left(tmp_path)) == ([], [])
    with pytest.raises(SetupError, match="no Postgres"):
        await record(
            _with_faults("redis-kill-empty"),
            lambda: cast("Stack", stack),
            tmp_path,
            Silence(),
            Stop(),
        )
