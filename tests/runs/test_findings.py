"""What the default scenario claims, found by running, and each claim shown able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.support import ROOT, Ended, harness

# A run whose requests were sent late has no verdict but invalid.
pytestmark = [pytest.mark.integration, pytest.mark.alone]


def _smoke(tmp_path: Path, *arguments: str, **environment: str) -> Ended:
    runs_dir = tmp_path / "runs"
    return harness(
        runs_dir,
        *("loadtest", "--scenario", "smoke", "--runs-dir", str(runs_dir)),
        *arguments,
        **environment,
    )


def test_the_matrix(tmp_path: Path) -> None:
    names = "litellm_1_84,fix_optional_user_id,fix_keep_required_none,all_prefixed,recommended"
    ended = _smoke(tmp_path, "--variants", names)
    assert ended.code == 0, ended.output
    variants = ended.result["variants"]
    assert {name: result["cells"] for name, result in variants.items()} == {
        "litellm_1_84": _cells("broken", "healthy", "broken", "broken"),
        "fix_optional_user_id": _cells("healthy", "healthy", "hidden", "broken"),
        "fix_keep_required_none": _cells("broken", "healthy", "broken", "healthy"),
        "all_prefixed": _cells("broken", "healthy", "healthy", "broken"),
        "recommended": _cells("healthy", "healthy", "healthy", "healthy"),
    }
    release = variants["litellm_1_84"]
    assert release["source_reads_per_1000_by_object"]["team"]["user"] >= 900
    pairs = release["log_pairs"]["shared_id"] / sum(release["requests"]["shared_id"].values())
    assert 0.9 <= pairs <= 1.6, "the pair of the issue, once a request and a little more"
    assert variants["fix_optional_user_id"]["wrong_values"]["shared_id"]["user"] > 0
    assert variants["fix_optional_user_id"]["deserialize_failures"].get("shared_id") is None
    assert set(release["requests"]["member"]) == {"401"}
    assert ended.result["premises"], "what is planted is named"
    assert ended.result["ledger"]["balanced"] is True


def test_without_the_premise_the_issue_account_shows_nothing(tmp_path: Path) -> None:
    ended = _smoke(tmp_path, "--variants", "litellm_1_84,fix_keep_none", "--premise", "off")
    assert ended.code == 0, ended.output
    assert ended.result["premises"] == []
    for result in ended.result["variants"].values():
        assert result["cells"]["team"] == ["healthy"]
        assert result["log_pairs"].get("team") is None


def test_a_healthy_codec_under_a_broken_name_fails(tmp_path: Path) -> None:
    ended = _smoke(
        tmp_path,
        "--variants",
        "litellm_1_84",
        "--override",
        "litellm_1_84:codec=msgspec,litellm_1_84:key_layout=all_prefixed",
    )
    assert ended.code == 1, ended.output
    assert ended.result["verdict"] == "regression"
    assert ended.result["variants"]["litellm_1_84"]["overridden"] == ["codec", "key_layout"]


def test_a_broken_codec_under_a_healthy_name_fails(tmp_path: Path) -> None:
    ended = _smoke(
        tmp_path, "--variants", "recommended", "--override", "recommended:codec=exclude_none"
    )
    assert ended.code == 1, ended.output
    assert any("recommended" in reason for reason in ended.result["reasons"])


def _planted(tmp_path: Path, fault: str) -> Ended:
    override = f"recommended:codec=tests.runs.planted:{fault}"
    return _smoke(
        tmp_path, "--variants", "recommended", "--override", override, PYTHONPATH=str(ROOT)
    )


def test_a_proxy_without_authorisation_fails(tmp_path: Path) -> None:
    """Plant 7: every check of the reference proxy removed."""
    ended = _planted(tmp_path, "NoAuthorisation")
    assert ended.code == 1, ended.output
    result = ended.result["variants"]["recommended"]
    for scope, cells in result["cells"].items():
        assert cells == ["hidden"], scope
        assert {"blocked", "expired", "wrong_model", "key_budget"} <= {
            *result["let_through"][scope]
        }
    assert {why for by in result["let_through"].values() for why in by} >= {
        *("user_budget", "team_budget", "member_budget", "team_blocked"),
        *("key_zero", "user_zero", "team_zero", "member_zero"),
    }
    assert ended.result["ledger"]["balanced"] is True


def test_expiry_that_is_lost_on_the_way_to_the_cache_fails(tmp_path: Path) -> None:
    """Plant 15: the objects served say so, and so do the keys that had expired."""
    ended = _planted(tmp_path, "LosesExpiry")
    assert ended.code == 1, ended.output
    result = ended.result["variants"]["recommended"]
    assert {cells[0] for cells in result["cells"].values()} == {"hidden"}
    assert all(wrong.keys() == {"key"} for wrong in result["wrong_values"].values())
    assert {why for by in result["let_through"].values() for why in by} == {"expired"}


def _cells(team: str, user: str, shared_id: str, member: str) -> dict[str, list[str]]:
    return {"team": [team], "user": [user], "shared_id": [shared_id], "member": [member]}


@pytest.mark.parametrize(
    ("fault", "code", "measured"),
    [
        ("TtlTimes10", 0, (0.98, 1.04)),
        ("TtlTimes09", 1, (0.89, 0.95)),
        ("TtlTimes11", 1, (1.09, 1.15)),
        ("TtlTimes100", 1, None),
    ],
)
def test_the_default_scenario_finds_a_ttl_that_is_not_kept(
    tmp_path: Path, fault: str, code: int, measured: tuple[float, float] | None
) -> None:
    runs_dir = tmp_path / "runs"
    ended = harness(
        runs_dir,
        *("loadtest", "--replicas", "2", "--variants", "recommended", "--runs-dir", str(runs_dir)),
        *("--override", f"recommended:codec=tests.runs.planted:{fault}"),
    )
    assert ended.code == code, ended.output
    kept = ended.result["variants"]["recommended"]["ttl_kept"].get("all")
    if measured is None:
        assert kept is None, "no entry expired, so none was read twice"
    else:
        assert measured[0] <= kept["value"] <= measured[1]
    failed = [e["name"] for e in ended.result["expectations"] if not e["passed"]]
    assert ("ttl_kept in all" in failed) == (code == 1)


def test_reads_that_are_booked_under_another_scope_make_a_run_invalid(tmp_path: Path) -> None:
    ended = _planted(tmp_path, "BookedUnderUser")
    assert ended.code == 4, ended.output
    equations = ended.result["ledger"]["equations"]
    unbalanced = {e["name"] for e in equations if e["status"] == "unbalanced"}
    assert unbalanced == {"reads_by_scope", "memory"}, "both count by scope"
