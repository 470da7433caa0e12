"""`harness loadtest` over sources of LiteLLM, as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from tests.runs.support import harness
from tests.silence import Silence
from tests.targets.litellm.upstream import upstream

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(900)]

RELEASE = "litellm==1.94.0"
SECRET = "s3cret-0f-the-user"


async def test_named_variants_run_side_by_side_and_no_file_holds_a_secret(tmp_path: Path) -> None:
    environment = await ensure_environment(parse_release(RELEASE), Silence())
    made = upstream(environment, tmp_path / "lite llm")
    made.repository.write("litellm/untracked.py", "")
    model = {"model": "openai/gpt", "api_key": "os.environ/KEY_OF_A_PROVIDER"}
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "gpt", "litellm_params": model}],
                "general_settings": {"master_key": SECRET, "alerting": ["slack"]},
                "litellm_settings": {"drop_params": True, "set_verbose": True},
                "environment_variables": {"SLACK_WEBHOOK_URL": f"http://127.0.0.1:9/{SECRET}"},
            }
        )
    )
    runs = tmp_path / "runs"
    place = made.repository.folder
    ended = harness(
        runs,
        *("loadtest", "--scenario", "smoke", "--replicas", "1", "--runs-dir", str(runs)),
        *("--variants", f"base=litellm@{place}#{made.comment},head=litellm@{place}"),
        *("--config", str(mine), "--rounds", "1"),
        KEY_OF_A_PROVIDER=SECRET,
        PYTHONPATH=str(place),
    )
    assert (runs / "latest").exists(), ended.output
    kept = [path for path in runs.rglob("*") if path.is_file()]
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in ended.output
    variants = ended.result["variants"]
    assert [*variants] == ["base", "head"], ended.output
    sources = [one["source"] for one in variants.values()]
    assert [(one["kind"], one["uncommitted"]) for one in sources] == [("commit", 0), ("tree", 1)]
    assert {one["laid_over"] for one in sources} == {RELEASE}
    assert all(one["not_instrumented"] == [] for one in variants.values())
    # The tree reads the key on every request, the commit does not.
    reads = [one["source_reads_per_1000_by_object"]["user"]["key"] for one in variants.values()]
    assert reads[1] - reads[0] >= 900, reads
    text = (runs / "latest" / "summary.md").read_text(encoding="utf-8")
    assert "mine.yaml: set by the harness: general_settings.master_key" in text
    assert "mine.yaml: off" in text
