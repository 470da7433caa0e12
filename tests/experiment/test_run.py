"""What a run says of itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.authcache.variants import load_variants
from harness.errors import InvalidRunError, TooSlowError, UsageError
from harness.experiment import run
from harness.experiment.record import Recording
from harness.experiment.run import _notes
from harness.observe.evidence import Evidence
from harness.plan.arms import reference_arm
from harness.plan.plan import RunPlan, make_plan
from harness.process.stop import Stop
from harness.scenario.loader import load_scenario
from harness.stack.base import Servers
from tests.observe.build import evidence
from tests.silence import Silence


def _of_a_run(time_scale: float) -> list[str]:
    scenario = load_scenario("issue-27874").model_copy(update={"time_scale": time_scale})
    plan = make_plan(scenario, [reference_arm(load_variants()["recommended"])], stack="embedded")
    recording = Recording(
        plan, windows=[evidence()], servers={"redis": "Valkey 9", "postgres": "18"}
    )
    return _notes(recording)


@pytest.mark.parametrize("scale", [0.4, 0.5, 2.0])
def test_scaled_times_are_noted(scale: float) -> None:
    (note,) = [note for note in _of_a_run(scale) if "Times are scaled" in note]
    assert f"scaled by {scale:g}: the TTL of 5 s is {5 * scale:g} s here" in note


def test_times_as_they_are_need_no_note() -> None:
    assert _of_a_run(1.0) == ["postgres: 18", "redis: Valkey 9"]


def test_a_run_of_changes_alone_says_how_often_keys_were_asked_for() -> None:
    arms = [reference_arm(load_variants()["recommended"])]
    load = {"rate_per_s": 11.0}
    scenario = load_scenario("clock")
    slow = scenario.model_copy(update={"load": scenario.load.model_copy(update=load)})
    for given, every in ((scenario, "1.4 s"), (slow, "2.3 s")):
        notes = _notes(Recording(make_plan(given, arms, stack="embedded"), windows=[evidence()]))
        assert f"Each changed key was asked for every {every} on each worker." in notes


@pytest.mark.parametrize("measured", [True, False])
async def test_the_manifest_says_what_was_driven_only_where_anything_was(
    measured: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A folder in place of the link costs a note, not the run.
    (tmp_path / "latest").mkdir()
    display = Silence()

    async def record(plan: RunPlan, *_: Any) -> Recording:
        problem = TooSlowError("Too slow.", {"recommended": 4.0}, ["recommended"])
        recording = Recording(plan, problem=problem)
        if measured:
            window = replace(evidence(), variant="recommended", phase="cold_fill", round=0)
            recording = replace(recording, windows=[window], problem=InvalidRunError("Ended."))
        return recording

    monkeypatch.setattr(run, "record", record)
    _, run_dir = await run.run(
        load_scenario("smoke"),
        [reference_arm(load_variants()["recommended"])],
        runs_dir=tmp_path,
        servers=Servers(),
        progress=display,
        stop=Stop(),
        prometheus="off",
    )
    assert [str(run_dir) in note for note in display.notes] == [True]
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    assert ("driven" in manifest) == measured
    assert ("driven.rate" in (run_dir / "report.html").read_text(encoding="utf-8")) == measured
    assert manifest["settings"]["rate_per_s"], "as planned"


@pytest.mark.parametrize("complete", [True, False])
async def test_what_is_made_of_a_run_is_made_of_a_complete_one_that_is_written(
    complete: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    window = replace(evidence(), variant="recommended", phase="cold_fill", round=0)

    async def record(plan: RunPlan, *_: Any) -> Recording:
        return Recording(plan, windows=[window], complete=complete, interrupted=not complete)

    def also(plan: RunPlan, windows: Sequence[Evidence], samples_dir: Path) -> None:
        del plan, windows
        raise UsageError(str(samples_dir))

    monkeypatch.setattr(run, "record", record)
    refused = pytest.raises(UsageError, match="samples") if complete else nullcontext()
    with refused:
        await run.run(
            load_scenario("smoke"),
            [reference_arm(load_variants()["recommended"])],
            runs_dir=tmp_path,
            servers=Servers(),
            progress=Silence(),
            stop=Stop(),
            prometheus="off",
            also=also,
        )
    written = ("result.json", "report.html", "summary.md", "verdict.json")
    assert all((tmp_path / "latest" / name).is_file() for name in written)


@pytest.mark.parametrize("measured", [True, False])
def test_a_target_has_its_note_where_it_was_measured(measured: bool) -> None:
    known = load_variants()
    arms = [reference_arm(known[name]) for name in ("recommended", "envelope", "memory_only")]
    for arm in arms[1:]:
        arm.target.notes = ("Mind the gap.", "It is wide.")
    plan = make_plan(load_scenario("issue-27874"), arms, stack="embedded")
    windows = [evidence()] + [evidence(variant=arm.name) for arm in arms[1:] if measured]
    notes = _notes(Recording(plan, windows=windows))
    expected = ("Mind the gap.", "It is wide.") if measured else ()
    assert tuple(note for note in notes if "Times are scaled" not in note) == expected
