"""What the default scenario claims, found by running, and each claim shown able to fail."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from tests.runs.support import EVEN, Ended, harness, unhurried

pytestmark = pytest.mark.integration


FIXES = "fix_keep_required_none,all_prefixed,recommended"


def _smoke(tmp_path: Path, *arguments: str, **environment: str) -> Ended:
    runs_dir, scenario = tmp_path / "runs", unhurried("smoke", tmp_path, rate_per_s="90", mix=EVEN)
    return harness(
        runs_dir,
        *("loadtest", "--scenario", str(scenario), "--runs-dir", str(runs_dir)),
        *arguments,
        **environment,
    )


def _page(ended: Ended, name: str) -> str:
    text = (ended.runs_dir / "latest" / name).read_text(encoding="utf-8")
    return html.unescape(text.replace("\\_", "_"))


@pytest.mark.parametrize(
    "names",
    [
        "litellm_1_84,fix_optional_user_id,recommended",
        pytest.param("litellm_1_84,fix_optional_user_id," + FIXES, marks=pytest.mark.long),
    ],
)
def test_the_matrix(tmp_path: Path, names: str) -> None:
    ended = _smoke(tmp_path, "--variants", names)
    assert ended.code == 0, ended.output
    variants = ended.result["variants"]
    cells = {
        "litellm_1_84": _cells("broken stale", "stale", "broken stale", "broken stale"),
        "fix_optional_user_id": _cells("stale", "stale", "hidden stale", "broken stale"),
        "fix_keep_required_none": _cells("broken stale", "stale", "broken stale", "stale"),
        "all_prefixed": _cells("broken stale", "stale", "stale", "broken stale"),
        "recommended": _cells("healthy", "healthy", "healthy", "healthy"),
    }
    assert {name: result["cells"] for name, result in variants.items()} == {
        name: cells[name] for name in names.split(",")
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
    # What its author wants to see is no reason to refuse a run.
    for page in (ended.output, _page(ended, "summary.md"), _page(ended, "report.html")):
        for name in names.split(","):
            warned = f"Warning: {name}: The codec" in " ".join(page.split())
            assert warned == (name in {"litellm_1_84", "fix_optional_user_id", "all_prefixed"})
    # The control of tests/plants too: nothing is noticed where nothing is planted.
    for fixed in {*FIXES.split(",")} & {*variants}:
        assert not any(sum(kinds.values()) for kinds in variants[fixed]["let_through"].values())


@pytest.mark.long
def test_without_the_premise_the_issue_account_shows_nothing(tmp_path: Path) -> None:
    ended = _smoke(tmp_path, "--variants", "litellm_1_84,fix_keep_none", "--premise", "off")
    assert ended.code == 0, ended.output
    assert ended.result["premises"] == []
    for result in ended.result["variants"].values():
        # Every request stores the key and the team again, so their entries never expire.
        assert result["cells"]["team"] == ["stale"]
        assert result["log_pairs"].get("team") is None


@pytest.mark.long
def test_a_healthy_codec_under_a_broken_name_and_the_reverse_fail(tmp_path: Path) -> None:
    healthy = "litellm_1_84:codec=msgspec,litellm_1_84:key_layout=all_prefixed"
    ended = _smoke(tmp_path, "--override", healthy, "--override", "recommended:codec=exclude_none")
    assert ended.code == 1, ended.output
    assert ended.result["verdict"] == "regression"
    variants = ended.result["variants"]
    assert variants["litellm_1_84"]["overridden"] == ["codec", "key_layout"]
    assert variants["recommended"]["overridden"] == ["codec"]
    for name in variants:
        assert any(name in reason for reason in ended.result["reasons"]), ended.output


KEEPS = "republish=on,late_store=on,invalidation=none,backfill_ttl=fixed_600s"
FORGETS = (
    "republish=off,late_store=off,invalidation=broadcast,backfill_ttl=entry_ttl,"
    "spend_path=write_behind,spend_ttl=entry_ttl"
)


@pytest.mark.long
def test_every_expectation_of_freshness_fails_where_the_cache_is_the_reverse(
    tmp_path: Path,
) -> None:
    """The default scenario, whose `recommended` keeps old entries alive, and whose 1.84 forgets."""
    runs_dir = tmp_path / "runs"
    planted = [
        f"{name}:{switch}"
        for name, switches in (("recommended", KEEPS), ("litellm_1_84", FORGETS))
        for switch in switches.split(",")
    ]
    ended = harness(
        runs_dir,
        *("loadtest", "--replicas", "2", "--variants", "litellm_1_84,recommended"),
        *("--override", ",".join(planted), "--runs-dir", str(runs_dir)),
    )
    assert ended.code == 1, ended.output
    states = {(e["variant"], e["name"]): e["state"] for e in ended.result["expectations"]}
    of_freshness = {
        ("litellm_1_84", "cell in user"),
        ("litellm_1_84", "others_s_max in all"),
        *(("recommended", f"cell in {s}") for s in ("team", "user", "shared_id", "member")),
        ("recommended", "others_s_max in all"),
        ("recommended", "stale_replies in all"),
    }
    assert {one: states[one] for one in of_freshness} == dict.fromkeys(of_freshness, "fails")


def _cells(team: str, user: str, shared_id: str, member: str) -> dict[str, list[str]]:
    cells = {"team": team, "user": user, "shared_id": shared_id, "member": member}
    return {scope: names.split() for scope, names in cells.items()}
