"""The real release, from the package index."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.targets.litellm.environment import installed
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from tests.targets.litellm.said import Said

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
