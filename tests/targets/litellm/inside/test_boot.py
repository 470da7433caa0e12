from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness.targets.litellm.inside import boot
from harness.targets.litellm.inside.proxy_config import environment, proxy_config
from harness.targets.litellm.inside.settings import Settings

SETTINGS = Settings(variant="litellm==1", version="1", dsn="postgresql://x/y", ttl_s=5.0)


def test_two_packages_are_found_and_nothing_else_of_ours() -> None:
    assert set(boot.packages(SETTINGS.encode())) == {"harness", "prisma"}
    assert boot.HARNESS.name == "harness"
    finder = boot.Finder(boot.packages(SETTINGS.encode()))
    spec = finder.find_spec("harness")
    assert spec is not None
    assert spec.submodule_search_locations == [str(boot.HARNESS)]
    assert finder.find_spec("pydantic") is None


def test_an_engine_of_the_environments_own_is_left_alone() -> None:
    settings = json.loads(SETTINGS.encode()) | {"real_prisma": True}
    assert set(boot.packages(json.dumps(settings))) == {"harness"}


def test_boot_imports_nothing_that_an_environment_lacks(tmp_path: Path) -> None:
    """What runs inside must not need a dependency of ours that no release has."""
    ours = {"msgspec", "locust", "gevent", "rich", "pygal", "jinja2", "ormsgpack", "hiredis"}
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['boot', '--help']\n"
        f"try:\n    runpy.run_path({boot.__file__!r}, run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        f"print(sorted(set(sys.modules) & {ours!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert importlib.util.find_spec("harness") is not None


def test_the_configuration_follows_the_scenario() -> None:
    settings = Settings(
        variant="x",
        version="1",
        dsn="postgresql://x/y",
        ttl_s=7.0,
        redis_url="redis://u:p%40s@127.0.0.1:6380/3",
        redis_namespace="ns",
        cost_micro=250,
        mock_latency_ms=400,
    )
    config = proxy_config(settings, "sk-master")
    assert config["general_settings"]["user_api_key_cache_ttl"] == 7.0
    assert config["litellm_settings"]["enable_redis_auth_cache"] is True
    params = config["litellm_settings"]["cache_params"]
    assert (params["host"], params["port"], params["db"]) == ("127.0.0.1", 6380, 3)
    assert (params["username"], params["password"], params["namespace"]) == ("u", "p@s", "ns")
    model = config["model_list"][0]
    assert model["model_info"]["output_cost_per_token"] * 20 * 1e6 == 250
    assert model["litellm_params"]["mock_delay"] == 0.4
    variables = environment(settings, "/c.yaml")
    assert "DEFAULT_MANAGEMENT_OBJECT_IN_MEMORY_CACHE_TTL" not in variables
    told = environment(replace(settings, management_ttl=True), "/c.yaml")
    assert told["DEFAULT_MANAGEMENT_OBJECT_IN_MEMORY_CACHE_TTL"] == "7"
    assert told.keys() - variables.keys() == {"DEFAULT_MANAGEMENT_OBJECT_IN_MEMORY_CACHE_TTL"}
    assert variables["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


def test_without_redis_nothing_speaks_of_it() -> None:
    assert "cache" not in proxy_config(SETTINGS, "sk-master")["litellm_settings"]


def test_settings_come_back_as_they_went() -> None:
    assert Settings.decode(SETTINGS.encode()) == SETTINGS
