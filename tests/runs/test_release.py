"""A run in which a real release takes part beside the reference proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.support import harness, unhurried

pytestmark = pytest.mark.integration

RELEASE = "litellm==1.84.0rc1"


@pytest.mark.long
def test_a_release_is_measured_as_a_variant_is(tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    short = {"ttl_s": "3.0", "cold_fill": "false", "warmup_ttls": "1"}
    scenario = str(unhurried("smoke", tmp_path, **short))
    ended = harness(
        runs_dir,
        *("loadtest", "--scenario", scenario, "--replicas", "2"),
        *("--variants", f"{RELEASE},recommended", "--runs-dir", str(runs_dir)),
    )
    assert "variants" in ended.result, ended.output
    release = ended.result["variants"][RELEASE]
    assert release["cells"] == {
        "team": ["stale"],
        "user": ["stale"],
        "shared_id": ["broken", "stale"],
        "member": ["broken", "stale"],
    }, ended.output
    assert set(release["requests"]["member"]) == {"401"}
    assert release["log_pairs"].get("team") is None, "nothing is planted in a release"
    requests = sum(release["requests"]["shared_id"].values())
    assert 0.8 <= release["log_pairs"]["shared_id"] / requests <= 1.3
    assert release["hard_coded"]
    assert release["not_instrumented"] == []
    assert release["entry_age_max_s"] == {}, "how old its entries are cannot be seen from outside"
    assert ended.result["time_scale"] == 1.0

    equations = ended.result["ledger"]["equations"]
    status = {e["name"]: e["status"] for e in equations if e["variant"] == RELEASE}
    unchecked = {name for name, value in status.items() if value == "not_checked"}
    assert unchecked == {"memory", "reads_by_scope", "pairs", "redis_gets", "redis_writes"}
    assert ended.result["ledger"]["balanced"] is True, equations


def test_times_are_not_scaled_for_a_release(tmp_path: Path) -> None:
    ended = harness(tmp_path, "loadtest", "--variants", RELEASE, "--time-scale", "0.1")
    assert ended.code == 2
    assert "cannot be scaled" in ended.output


def test_the_compromised_release_is_refused(tmp_path: Path) -> None:
    ended = harness(tmp_path, "loadtest", "--variants", "litellm==1.107.2")
    assert ended.code == 2
    assert "1.107" in ended.output
    assert not list(tmp_path.iterdir())
