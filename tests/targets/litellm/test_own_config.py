from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.targets.litellm.environment import Environment
from harness.targets.litellm.inside.proxy_config import proxy_config
from harness.targets.litellm.inside.serve import link_modules
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
        "completion_model": "gpt",
        "coordination_redis": {"host": "redis.example"},
        "litellm_license": SECRET,
        "custom_key_generate": "mine.generate",
    },
    "litellm_settings": {
        "cache": True,
        "cache_params": {"type": "s3"},
        "callbacks": ["langfuse"],
        "drop_params": True,
    },
    "router_settings": {
        "redis_password": SECRET,
        "routing_strategy": "simple-shuffle",
        "model_group_alias": {"mock-model": "gpt", "other": "gpt"},
    },
    "guardrails": [{"guardrail_name": "g"}],
    "environment_variables": {"REDIS_HOST": SECRET, "MINE": "os.environ/NOT_SET"},
}


def test_what_a_run_depends_on_stays_the_harness_own() -> None:
    merged = merge(MINE, OURS, keep_callbacks=False)

    config = merged.config
    assert config["general_settings"] == OURS["general_settings"] | {"proxy_batch_write_at": 5}
    assert config["litellm_settings"] == OURS["litellm_settings"] | {"drop_params": True}
    assert config["router_settings"] == {
        "routing_strategy": "simple-shuffle",
        "model_group_alias": {"other": "gpt"},
    }
    assert [model["model_name"] for model in config["model_list"]] == ["mock-model", "gpt"]
    assert config["model_list"][0] == OURS["model_list"][0]
    assert config["environment_variables"] == {"MINE": "os.environ/NOT_SET"}
    assert "guardrails" not in config
    assert merged.overridden == (
        *("general_settings.master_key", "general_settings.database_url"),
        *("general_settings.custom_auth", "general_settings.completion_model"),
        *("general_settings.coordination_redis", "general_settings.litellm_license"),
        "litellm_settings.cache",
        *("litellm_settings.cache_params", "router_settings.redis_password"),
        *("environment_variables.REDIS_HOST", "model_list.mock-model"),
        "router_settings.model_group_alias.mock-model",
    )
    assert merged.off == (
        *("general_settings.alerting", "general_settings.custom_key_generate"),
        *("litellm_settings.callbacks", "guardrails"),
    )
    assert merged.kept == ()
    assert merged.mocked == ("gpt",)
    assert config["model_list"][1]["litellm_params"] == {
        "api_key": "os.environ/NAMED_KEY",
        "mock_response": OURS["model_list"][0]["litellm_params"]["mock_response"],
    }


def test_what_calls_out_stays_on_if_it_is_asked_for() -> None:
    merged = merge(MINE, OURS, keep_callbacks=True)
    assert merged.config["litellm_settings"]["callbacks"] == ["langfuse"]
    assert merged.config["guardrails"] == MINE["guardrails"]
    assert (merged.off, len(merged.kept)) == ((), 4)
    assert merged.mocked == ("gpt",)
    assert merged.config["general_settings"]["master_key"] == "sk-ours"


MODEL = st.fixed_dictionaries(
    {"model_name": st.sampled_from(["mock-model", "gpt", "*"])},
    optional={"litellm_params": st.fixed_dictionaries({}, optional={"mock_response": st.text()})},
)
SECTION = st.dictionaries(st.text(max_size=9), st.text(max_size=5), max_size=4)


@given(
    general=SECTION,
    litellm=SECTION,
    router=SECTION,
    keep=st.booleans(),
    variables=SECTION,
    models=st.none() | st.lists(MODEL, max_size=4),
    aliases=st.dictionaries(st.sampled_from(["mock-model", "a"]), st.just("gpt")),
)
def test_whatever_the_file_says_ours_is_in_force(
    general: dict[str, str],
    litellm: dict[str, str],
    router: dict[str, str],
    keep: bool,
    variables: dict[str, str],
    models: list[dict[str, Any]] | None,
    aliases: dict[str, str],
) -> None:
    before = copy.deepcopy(models)
    user = {
        "general_settings": general | dict.fromkeys(OURS["general_settings"], "x"),
        "litellm_settings": litellm | dict.fromkeys(OURS["litellm_settings"], "x"),
        "router_settings": router | {"model_group_alias": aliases},
        "environment_variables": variables,
        "model_list": models,
    }
    config = merge(user, OURS, keep_callbacks=keep).config
    for section in ("general_settings", "litellm_settings"):
        assert config[section].items() >= OURS[section].items()
    assert config["model_list"][:1] == OURS["model_list"]
    others = config["model_list"][1:]
    assert [one["model_name"] for one in others].count("mock-model") == 0
    assert all("mock_response" in one["litellm_params"] for one in others)
    assert "mock-model" not in config["router_settings"]["model_group_alias"]
    assert models == before, "the user's own stays as it was"


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
    assert decoded.config_folder == ""
    said = " ".join(target.notes) + json.dumps(target.describe())
    assert "general_settings.master_key" in said
    assert "mine.yaml: off" in said
    assert "reply with a mock, as no load may reach a provider: gpt." in said
    assert "NOT_SET" in said
    assert SECRET not in said


async def test_code_beside_the_file_is_found_only_if_it_may_run(
    tmp_path: Path, environment: Environment
) -> None:
    for keep in (False, True):
        config = replace(write(tmp_path, json.dumps(MINE)), keep_callbacks=keep)
        own = await read_config(config, environment)
        target = LiteLLMTarget(release_of("1.105.7"), environment, own=own)
        env = target.process(context_of("redis://127.0.0.1:1/0")).env
        found = Settings.decode(env[SETTINGS_VARIABLE]).config_folder
        assert found == (str(tmp_path) if keep else "")


def test_only_code_is_linked(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    (source / "package").mkdir(parents=True)
    (source / ".git").mkdir()
    folder.mkdir()
    for name in ("hooks.py", "config.yaml", ".env", "package/part.py"):
        (source / name).write_text(name)
    link_modules(source, folder)
    assert {path.name for path in folder.iterdir()} == {"hooks.py", "package"}
    assert (folder / "package" / "part.py").read_text() == "package/part.py"


async def test_what_yaml_knows_and_json_does_not_is_a_string(
    tmp_path: Path, environment: Environment
) -> None:
    own = await read_config(write(tmp_path, "litellm_settings: {since: 2026-01-02}"), environment)
    assert own.content == {"litellm_settings": {"since": "2026-01-02"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"\[mine.yaml\] is no YAML: expected ',' or .* in line 1, column 6\. Correct"),
        (f"a: {SECRET}: x", "mapping values are not allowed here in line 1"),
        ("a: \0", "no YAML: ReaderError"),
        ("[" * 600, "no YAML: RecursionError"),
        ("- a", "no table of settings"),
        ("", "no table of settings"),
        ("general_settings: 3", "general_settings is no table"),
        ("model_list: {a: 1}", "model_list is no list of models"),
        ("model_list: [{litellm_params: x}]", "model_list is no list of models with"),
        ("include: [other.yaml]", "includes other files"),
        (f"litellm_settings: {{x: {'y' * 100_000}}}", "bytes as JSON, and a replica takes 100,000"),
    ],
)
async def test_a_file_that_is_no_configuration_is_refused(
    tmp_path: Path, environment: Environment, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        await read_config(write(tmp_path, text), environment)
    assert SECRET not in str(refused.value)
