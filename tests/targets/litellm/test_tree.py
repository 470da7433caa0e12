"""A working tree of a real release: laid over its environment, started, asked, and checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from harness.errors import InvalidRunError, SetupError
from harness.stack.base import FleetSpec
from harness.stack.embedded import EmbeddedStack
from harness.targets.base import Target
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.kind import LiteLLMKind
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.snapshot import sources_root
from harness.targets.settings import RunSettings
from tests.silence import Silence
from tests.targets.litellm.repository import repository_of

pytestmark = pytest.mark.integration

RELEASE = "litellm==1.94.0"
PLANT = """
from litellm.untracked import WORD
@app.get("/health/planted")
def planted(): return WORD
"""


async def start(folder: Path, target: Target) -> str:
    """What the planted route of a replica answers."""
    stack = EmbeddedStack(folder)
    try:
        await stack.open()
        fleet = await stack.start(FleetSpec("head", target, 1, 1, RunSettings(ttl_s=60.0)))
        async with httpx.AsyncClient(timeout=60.0, trust_env=False) as http:
            return (await http.get(f"{fleet.replica_urls[0]}/health/planted")).text
    finally:
        await stack.close()


async def test_a_tree_runs_from_its_snapshot_and_any_other_code_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = await ensure_environment(parse_release(RELEASE), Silence())
    repository = repository_of(environment, tmp_path / "lite llm")
    repository.append("litellm/proxy/proxy_server.py", PLANT)
    repository.write("litellm/untracked.py", "WORD = 'planted'\n")
    kind = LiteLLMKind()
    target = await kind.target(kind.choose(f"head=litellm@{repository.folder}"), Silence())
    assert target.origin is not None
    code = Path(target.origin.folder)
    try:
        assert target.source is not None
        assert (target.source["kind"], target.source["uncommitted"]) == ("tree", 2)
        # What the caller's PYTHONPATH names, and the repository itself, must not matter.
        monkeypatch.setenv("PYTHONPATH", str(repository.folder))
        (repository.folder / "litellm/untracked.py").write_text("WORD = 'later'\n")
        assert await start(tmp_path / "one", target) == '"planted"'

        (code / "litellm/untracked.py").write_text("WORD = 'changed'\n", encoding="utf-8")
        with pytest.raises(InvalidRunError, match="its digest is"):
            await start(tmp_path / "two", target)

        (code / "litellm/untracked.py").write_text("raise ValueError('broken tree')\n")
        with pytest.raises(SetupError, match="broken tree"):
            await start(tmp_path / "three", target)
    finally:
        assert code.is_relative_to(sources_root())
        shutil.rmtree(code.parent)
