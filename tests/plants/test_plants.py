"""Every planted fault is noticed, by the detector that should, and by no unrelated equation."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.plants.faults import FAULTS, Fault
from tests.runs.support import Ended, harness

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(600)]

SITE = Path(__file__).parent / "site"
ALL = "AUTHCACHE_ALL_PLANTS"


def chosen() -> list[Fault]:
    """The quick faults, or all of them for `make plants`."""
    return [fault for fault in FAULTS.values() if fault.quick or ALL in os.environ]


def run(fault: Fault | None, seed: int, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    """A run in whose processes the fault is planted."""
    words = ["loadtest", "--runs-dir", str(runs_dir)]
    if fault is None:
        words += ["--scenario", "smoke", "--variants", "recommended"]
    else:
        monkeypatch.setenv("PYTHONPATH", str(SITE), prepend=os.pathsep)
        monkeypatch.setenv("AUTHCACHE_PLANT", fault.name)
        monkeypatch.setenv("AUTHCACHE_PLANT_SEED", str(seed))
        words += ["--scenario", fault.scenario, "--variants", fault.variants, "--replicas", "2"]
    return harness(runs_dir, *words)


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
        if any(sum(kinds.values()) for kinds in variant["let_through"].values()):
            spoke.add("let through")
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


@pytest.mark.parametrize("fault", chosen(), ids=lambda fault: fault.name)
def test_a_planted_fault_is_noticed(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("AUTHCACHE_PLANT_SEED", random.SystemRandom().randrange(10**6)))

    ended = run(fault, seed, tmp_path, monkeypatch)

    told = f"seed {seed}\n{ended.output}"
    assert "ledger" in ended.result, told
    assert speaks(fault, ended.result), f"{noticed(ended.result)}\n{told}"
    assert ended.code == fault.exit_code, told
    equations = {word.split()[1] for word in noticed(ended.result) if word.startswith("equation")}
    expected = {*fault.also, *fault.noticed_by.split()[1:]}
    assert equations <= expected, f"unrelated: {equations - expected}\n{told}"


def test_nothing_is_noticed_where_nothing_is_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run(None, 0, tmp_path, monkeypatch)

    assert ended.code == 0, ended.output
    assert noticed(ended.result) == {"cell healthy"}, ended.output
