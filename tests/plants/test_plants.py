"""Every planted fault is noticed, by the detector that should, and by no unrelated equation."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.intervals import RUN_ERROR, proportion
from tests.plants.faults import FAULTS, Fault
from tests.runs.support import ROOT, Ended, harness, unhurried

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SITE = Path(__file__).parent / "site"
ALL = "AUTHCACHE_ALL_PLANTS"
CONTROLS = int(os.environ.get("AUTHCACHE_CONTROLS") or 1)
"""Runs without a plant."""


def chosen(*, by_tests: bool) -> dict[str, list[Fault]]:
    """The quick faults, several in one run, or all for `make plants`, each in a run of its own.

    Args:
        by_tests: those that tests notice, each for itself; else those that a run notices.
    """
    runs: dict[str, list[Fault]] = {}
    for fault in FAULTS.values():
        name = fault.name if ALL in os.environ else fault.quick
        if name and fault.noticed_by.startswith("test ") == by_tests:
            runs.setdefault(name, []).append(fault)
    return runs


def plant(faults: list[Fault], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every process that is started from now on plant the faults."""
    monkeypatch.setenv("PYTHONPATH", str(SITE), prepend=os.pathsep)
    monkeypatch.setenv("AUTHCACHE_PLANT", ",".join(fault.name for fault in faults))
    monkeypatch.setenv("AUTHCACHE_PLANT_SEED", str(seed))


def run(faults: list[Fault], runs_dir: Path) -> Ended:
    """A run of the faults' scenario."""
    [(scenario, variants)] = {(fault.scenario, fault.variants) for fault in faults}
    if ALL not in os.environ and not judge_lateness(faults):
        scenario = str(unhurried(scenario, runs_dir))
    words = ["--scenario", scenario, "--variants", variants]
    if "litellm==" not in variants:
        words += ["--replicas", "2"]
    return harness(runs_dir, "loadtest", "--runs-dir", str(runs_dir), *words)


def noticed(result: dict[str, Any]) -> set[str]:
    """Everything that spoke, as `Fault.noticed_by` names it."""
    spoke = {
        f"equation {e['name']}"
        for e in result["ledger"]["equations"]
        if (e["status"], e["kind"]) == ("unbalanced", "validity")
    }
    for variant in result["variants"].values():
        for cells in variant["cells"].values():
            spoke |= {f"cell {cell}" for cell in cells}
        if any(sum(kinds.values()) for kinds in (variant["let_through"] or {}).values()):
            spoke.add("let through")
        spoke |= {f"point {point}" for point in variant["not_instrumented"]}
    return spoke


def speaks(fault: Fault, result: dict[str, Any]) -> bool:
    how, _, words = fault.noticed_by.partition(" ")
    if how == "expectation":
        return any(
            words in e["name"]
            and e.get("state", "" if e.get("passed", True) else "fails") == "fails"
            for e in result["expectations"]
        )
    if how == "reason":
        return any(words in reason for reason in result["reasons"])
    return fault.noticed_by in noticed(result)


def judge_lateness(faults: list[Fault]) -> bool:
    """Whether one is of the generator, which is judged by when it sends."""
    return any(fault.kind == "generator" for fault in faults)


def runs() -> list[Any]:
    """The runs of `chosen`, those that judge lateness alone."""
    return [
        pytest.param(
            faults, id=name, marks=[pytest.mark.alone, pytest.mark.long] * judge_lateness(faults)
        )
        for name, faults in chosen(by_tests=False).items()
    ]


@pytest.mark.parametrize("faults", runs())
def test_a_planted_fault_is_noticed(
    faults: list[Fault], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("AUTHCACHE_PLANT_SEED", random.SystemRandom().randrange(10**6)))
    plant(faults, seed, monkeypatch)

    ended = run(faults, tmp_path)

    told = f"seed {seed}\n{ended.output}"
    assert "ledger" in ended.result, told
    silent = [fault.name for fault in faults if not speaks(fault, ended.result)]
    assert silent == [], f"{noticed(ended.result)}\n{told}"
    assert ended.code == max(fault.exit_code for fault in faults), told
    equations = {word.split()[1] for word in noticed(ended.result) if word.startswith("equation")}
    expected = {name for one in faults for name in (*one.also, *one.noticed_by.split()[1:])}
    assert equations <= expected, f"unrelated: {equations - expected}\n{told}"


@pytest.mark.parametrize("faults", chosen(by_tests=True).values(), ids=chosen(by_tests=True))
def test_a_planted_fault_fails_a_test(faults: list[Fault], monkeypatch: pytest.MonkeyPatch) -> None:
    [fault] = faults
    plant(faults, 0, monkeypatch)
    words = ["-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", fault.noticed_by.split()[1]]

    ended = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ended.returncode == fault.exit_code, ended.stdout + ended.stderr


def proved(alarms: int, runs: int) -> str:
    """What some runs without a plant prove, at 95 %."""
    most = proportion(alarms, runs, RUN_ERROR).high
    return f"Alarms in {alarms} of {runs} runs without a plant: this proves a rate under {most:.0%}"


def test_what_quiet_runs_prove() -> None:
    said = "Alarms in 0 of 20 runs without a plant: this proves a rate under 14%"
    assert proved(0, 20) == said


@pytest.mark.long
@pytest.mark.timeout(600 * CONTROLS)
def test_nothing_is_noticed_where_nothing_is_planted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alarms = []
    for seed in range(1, CONTROLS + 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        scenario = "smoke" if ALL in os.environ else str(unhurried("smoke", folder))
        words = ["--scenario", scenario, "--variants", "recommended", "--seed", str(seed)]
        ended = harness(folder, "loadtest", "--runs-dir", str(folder), *words)
        if ended.code or noticed(ended.result) != {"cell healthy"}:
            alarms.append(f"seed {seed}\n{ended.output}")
    with capsys.disabled():
        sys.stdout.write(f"\n{proved(len(alarms), CONTROLS)}\n")

    assert not alarms, "\n".join(alarms)
