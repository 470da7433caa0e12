"""The real release, from the package index."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.process.loopback import local_http
from harness.stack.base import FleetSpec
from harness.targets.litellm import environment as environments
from harness.targets.litellm.environment import installed
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.kind import LiteLLMKind
from harness.targets.litellm.releases import parse_release
from harness.targets.settings import RunSettings
from tests.targets.litellm.said import Said
from tests.targets.litellm.upstream import wheel_of
from tests.targets.world import MODEL, one_key, running_stack

ASK = """
from importlib import metadata, util
print(metadata.version("litellm"))
needed = ("asyncpg", "prometheus_client", "redis", "uvicorn")
print([name for name in needed if util.find_spec(name) is None])
print(util.find_spec("prisma"))
print(util.cache_from_source(util.find_spec("litellm").origin))
"""


@pytest.mark.integration
async def test_the_real_release_is_what_it_says() -> None:
    # Into the user's own cache, where it is kept: a second run finds it there.
    environment = await ensure_environment(parse_release("litellm==1.84.0-rc.1"), Said())

    assert (environment.site_packages / "litellm-1.84.0rc1.dist-info").is_dir()
    assert environment in installed()
    assert environment.record.recorded_pins
    assert any(environment.extras_migrations.glob("*/migration.sql"))
    assert not environment.has_prisma_engine
    assert 2e8 < environment.installed_bytes < 1e9
    version, lacking, prisma, compiled = _told(environment.python)
    assert (version, lacking, prisma) == ("1.84.0rc1", "[]", "None")
    assert environment.folder in Path(compiled).parents
    assert Path(compiled) in environment.site_packages.glob("litellm/__pycache__/*.pyc")


def _told(python: Path) -> list[str]:
    told = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True, env={})
    return told.stdout.splitlines()


RELAXED = "litellm==1.94.0.post1"
LACKS = ("litellm-proxy==1.94.0.post1", "certifi>=2999")
"""Of the first the index has nothing (1.110.2 asks for it), of the second no such version."""


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("index_with_one_more")
async def test_a_release_whose_requirements_the_index_lacks_runs_relaxed(tmp_path: Path) -> None:
    kind = LiteLLMKind()
    chosen = kind.choose(RELAXED)
    with pytest.raises(SetupError, match=r"--relax (litellm-proxy|certifi) --relax") as refused:
        await kind.target(chosen, Said())
    assert "litellm-proxy was not found" in str(refused.value)
    assert "only certifi<=" in str(refused.value)

    target = await kind.target(kind.relax(chosen, ["certifi", "litellm-proxy"]), Said())

    said = " ".join(target.notes)
    assert f"{LACKS[0]} is asked for, none is used" in said
    assert f"{LACKS[1]} is asked for, 2" in said
    with running_stack(tmp_path / "logs") as (stack, run):
        fleet = run(stack.start(FleetSpec("relaxed", target, 1, 1, RunSettings(ttl_s=60.0))))
        key = run(one_key(fleet.dsn, "team"))
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        headers = {"authorization": f"Bearer {key.secret}"}
        url = f"{fleet.replica_urls[0]}/v1/chat/completions"
        async with local_http(timeout=60.0) as http:
            assert (await http.post(url, json=body, headers=headers)).status_code == 200


@pytest.fixture
async def index_with_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package index, and a made release that asks for what it lacks."""
    release = await ensure_environment(parse_release("litellm==1.94.0"), Said())
    (tmp_path / "dist").mkdir()
    wheel_of(release, tmp_path / "dist", version="1.94.0.post1", requires=LACKS)
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "dist"))
    monkeypatch.setattr(environments, "cache_root", lambda: tmp_path / "cache")
