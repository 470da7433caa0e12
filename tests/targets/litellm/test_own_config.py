from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.targets.litellm.environment import Environment
from harness.targets.litellm.inside.proxy_config import proxy_config
from harness.targets.litellm.inside.settings import Settings
from harness.targets.litellm.inside.user_config import merge
from harness.targets.litellm.own_config import read_config
from harness.targets.litellm.releases import release_of
from harness.targets.litellm.sources import Config
from harness.targets.litellm.target import LiteLLMTarget
from harness.targets.settings import SETTINGS_VARIABLE
from tests.targets.litellm.repository import small_environment
from tests.targets.litellm.test_target import context_of

SETTINGS = Settings(
    variant="v", version="1", dsn="postgresql://x/y", ttl_s=5.0, redis_url="redis://127.0.0.1:1/0"
)
OURS = proxy_config(SETTINGS, "sk-ours")
SECRET = "s3cret"
MINE: dict[str, Any] = {
    "model_list": [
        {"model_name": "mock-model", "litellm_params": {"api_key": SECRET}},
        {"model_name": "gpt", "litellm_params": {"api_key": "os.environ/NAMED_KEY"}},
    ],
    "general_settings": {
        "master_key": SECRET,
        "database_url": "os.environ/DATABASE_URL",
        "custom_auth": "mine.auth",
        "alerting": ["slack"],
        "proxy_batch_write_at": 5,
    },
    "litellm_settings": {
        "cache": True,
        "cache_params": {"type": "s3"},
        "callbacks": ["langfuse"],
        "drop_params": True,
    },
    "router_settings": {"redis_password": SECRET, "routing_strategy": "simple-shuffle"},
    "guardrails": [{"guardrail_name": "g"}],
    "environment_variables": {"REDIS_HOST": SECRET, "MINE": "os.environ/NOT_SET"},
}


def test_what_a_run_depends_on_stays_the_harness_own() -> None:
    merged = merge(MINE, OURS, keep_callbacks=False)

    config = merged.config
    assert config["general_settings"] == OURS["general_settings"] | {"proxy_batch_write_at": 5}
    assert config["litellm_settings"] == OURS["litellm_settings"] | {"drop_params": True}
    assert config["router_settings"] == {"routing_strategy": "simple-shuffle"}
    assert [model["model_name"] for model in config["model_list"]] == ["mock-model", "gpt"]
    assert config["model_list"][0] == OURS["model_list"][0]
    assert config["environment_variables"] == {"MINE": "os.environ/NOT_SET"}
    assert "guardrails" not in config
    assert merged.overridden == (
        *("general_settings.master_key", "general_settings.database_url"),
        *("general_settings.custom_auth", "litellm_settings.cache"),
        *("litellm_settings.cache_params", "router_settings.redis_password"),
        *("environment_variables.REDIS_HOST", "model_list.mock-model"),
    )
    assert merged.off == ("general_settings.alerting", "litellm_settings.callbacks", "guardrails")
    assert merged.kept == ()


def test_what_calls_out_stays_on_if_it_is_asked_for() -> None:
    merged = merge(MINE, OURS, keep_callbacks=True)
    assert merged.config["litellm_settings"]["callbacks"] == ["langfuse"]
    assert merged.config["guardrails"] == MINE["guardrails"]
    assert (merged.off, len(merged.kept)) == ((), 3)
    assert merged.config["general_settings"]["master_key"] == "sk-ours"


SECTION = st.dictionaries(st.text(max_size=9), st.text(max_size=5), max_size=4)


@given(general=SECTION, litellm=SECTION, router=SECTION, keep=st.booleans(), variables=SECTION)
def test_whatever_the_file_says_ours_is_in_force(
    general: dict[str, str],
    litellm: dict[str, str],
    router: dict[str, str],
    keep: bool,
    variables: dict[str, str],
) -> None:
    user = {
        "general_settings": general | dict.fromkeys(OURS["general_settings"], "x"),
        "litellm_settings": litellm | dict.fromkeys(OURS["litellm_settings"], "x"),
        "router_settings": router,
        "environment_variables": variables,
        "model_list": None,
    }
    config = merge(user, OURS, keep_callbacks=keep).config
    for section in ("general_settings", "litellm_settings"):
        assert config[section].items() >= OURS[section].items()
    assert config["model_list"] == OURS["model_list"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return small_environment(tmp_path / "environment")


def write(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return Config(path)


async def test_only_variables_that_the_file_names_reach_a_replica(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NAMED_KEY", "NOT_NAMED", "DATABASE_URL"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.delenv("NOT_SET", raising=False)

    own = await read_config(write(tmp_path, json.dumps(MINE)), environment)

    target = LiteLLMTarget(release_of("1.105.7"), environment, own=own)
    env = target.process(context_of("redis://127.0.0.1:1/0")).env
    assert env.keys() == {"NAMED_KEY", SETTINGS_VARIABLE}
    assert env["NAMED_KEY"] == SECRET
    decoded = Settings.decode(env[SETTINGS_VARIABLE])
    assert proxy_config(decoded, "k")["litellm_settings"]["drop_params"] is True
    said = " ".join(target.notes) + json.dumps(target.describe())
    assert "general_settings.master_key" in said
    assert "mine.yaml: off" in said
    assert "NOT_SET" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"\[mine.yaml\] is no YAML: while parsing"),
        ("- a", "no table of settings"),
        ("", "no table of settings"),
        ("general_settings: 3", "general_settings is no table"),
        ("model_list: {a: 1}", "model_list is no list of models"),
        ("include: [other.yaml]", "includes other files"),
    ],
)
async def test_a_file_that_is_no_configuration_is_refused(
    tmp_path: Path, environment: Environment, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await read_config(write(tmp_path, text), environment)
