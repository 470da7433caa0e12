from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.authcache.variants import load_variants
from harness.domain.changes import ACTIONS
from harness.domain.population import MOCK_MODEL, make_population
from harness.errors import SetupError
from harness.stack.base import FleetSpec
from harness.targets.base import ReplicaContext
from harness.targets.litellm.environment import Environment, Record
from harness.targets.litellm.inside.proxy_config import proxy_config
from harness.targets.litellm.inside.settings import Settings
from harness.targets.litellm.releases import release_of
from harness.targets.litellm.target import BROADCASTS, LiteLLMTarget, refusal_statuses
from harness.targets.reference.target import ReferenceTarget
from harness.targets.schema import management
from harness.targets.schema.truth import STATUSES
from harness.targets.settings import MASTER_KEY_VARIABLE, SETTINGS_VARIABLE, RunSettings

RECORD = Record(
    version="1.84.0rc1",
    python="3.11.0",
    recorded_pins=True,
    packages={},
    installed_bytes=0,
    seconds=0.0,
)


def cache_params(redis_url: str | None) -> Any:
    """The Redis in the configuration of a replica's proxy; None where it has none."""
    target = LiteLLMTarget(release_of("1.84.0rc1"), Environment(Path("nowhere"), RECORD))
    settings = Settings.decode(target.process(context_of(redis_url)).env[SETTINGS_VARIABLE])
    config = json.loads(json.dumps(proxy_config(settings, "sk-master")))
    return config["litellm_settings"].get("cache_params")


def context_of(redis_url: str | None) -> ReplicaContext:
    return ReplicaContext(
        fleet="litellm==1.84.0rc1",
        replica=0,
        workers=1,
        listen_fd=3,
        metrics_fds=(4,),
        dsn="postgresql://nowhere/x",
        redis_url=redis_url,
        redis_namespace="authcache:x",
        settings=RunSettings(ttl_s=5.0),
    )


def test_an_address_reaches_the_release_whole() -> None:
    assert cache_params("rediss://us%40er:p%2Fw@redis.example:6380/3") == {
        "type": "redis",
        "host": "redis.example",
        "port": 6380,
        "ssl": True,
        "username": "us@er",
        "password": "p/w",
        "db": 3,
        "namespace": "authcache:x",
        "supported_call_types": [],
    }


def test_a_replica_does_not_get_the_callers_python_path() -> None:
    target = LiteLLMTarget(release_of("1.84.0rc1"), Environment(Path("nowhere"), RECORD))
    assert target.process(context_of(None)).other_python


def test_a_plain_address_asks_for_no_tls() -> None:
    params = cache_params("redis://127.0.0.1:6379/0")
    assert (params["host"], params["port"]) == ("127.0.0.1", 6379)
    assert not {"ssl", "password", "username"} & params.keys()


def test_no_redis_is_no_cache() -> None:
    assert cache_params(None) is None


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("unix:///run/redis.sock", "is a socket"),
        ("rediss://h:1/0?ssl_cert_reqs=none&password=secret", r"\[ssl_cert_reqs, password\]"),
    ],
)
def test_what_a_release_cannot_be_told_is_refused(url: str, what: str) -> None:
    """Rather than that it runs without the tier that all others share."""
    with pytest.raises(SetupError, match=what) as refused:
        cache_params(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("release", "budget", "expired", "model"),
    [
        ("1.83.14", 400, 400, 401),
        ("1.84.0rc1", 400, 400, 401),  # seen
        ("1.84.10", 400, 400, 401),
        ("1.86.0", 429, 401, 403),
        ("1.94.0", 429, 401, 403),  # seen
        ("1.102.4", 429, 401, 403),
        ("1.105.7", 422, 401, 403),  # seen
        ("1.109.1", 422, 401, 403),
    ],
)
def test_a_release_refuses_with_its_own_statuses(
    release: str, budget: int, expired: int, model: int
) -> None:
    statuses = refusal_statuses(f"litellm=={release}")
    assert statuses.keys() == STATUSES.keys()
    assert {n for why, n in statuses.items() if why.endswith(("_budget", "_zero"))} == {budget}
    assert (statuses["expired"], statuses["wrong_model"]) == (expired, model)
    assert {statuses[why] for why in ("unknown", "blocked", "team_blocked")} == {401}


def test_the_master_key_goes_to_the_environment_alone() -> None:
    target = LiteLLMTarget(release_of("1.84.0rc1"), Environment(Path("nowhere"), RECORD))
    context = ReplicaContext(
        "x", 0, 1, 3, (4,), "postgresql://nowhere/x", None, "", RunSettings(ttl_s=5.0), "sk-geheim"
    )
    process = target.process(context)
    assert process.env[MASTER_KEY_VARIABLE] == "sk-geheim"
    assert "geheim" not in process.env[SETTINGS_VARIABLE] + " ".join(process.argv) + repr(context)
    spec = FleetSpec("x", target, 1, 1, RunSettings(ttl_s=5.0))
    assert spec.master_key != FleetSpec("x", target, 1, 1, RunSettings(ttl_s=5.0)).master_key
    assert spec.master_key not in repr(spec)


@pytest.mark.parametrize(
    ("release", "action", "told"),
    [
        ("1.92.2", "key-block", False),
        ("1.105.7", "key-block", True),
        ("1.105.7", "team-block", False),
        ("1.108.14", "team-models", True),
        ("1.108.14", "team-block", False),
        ("1.109.1", "team-block", True),
        ("1.105.7", "key-delete", False),
        ("1.109.1", "key-delete", True),
        ("1.105.7", "user-delete", True),
        ("1.105.7", "key-new", None),
    ],
)
def test_a_release_tells_other_workers_of_some_changes(
    release: str, action: str, told: bool | None
) -> None:
    target = LiteLLMTarget(release_of(release), Environment(Path("nowhere"), RECORD))
    assert target.broadcasts(action) is told


def test_actions_that_are_broadcast_exist() -> None:
    assert {action for _, actions in BROADCASTS for action in actions} <= ACTIONS.keys()


@pytest.mark.parametrize("action", ACTIONS)
def test_what_a_release_lacks_has_no_call(action: str) -> None:
    target = LiteLLMTarget(release_of("1.94.0"), Environment(Path("nowhere"), RECORD))
    key = make_population({"member": 1}, {}, seed=1, model=MOCK_MODEL)[0]
    call = target.call(action, key, 1)
    assert (call is None) == (action == "key-regenerate")
    assert call is None or call == management.call(action, key, 1)


@pytest.mark.parametrize(
    ("release", "kept_s", "told_s"),
    [
        ("1.83.14", 60, 10),
        ("1.84.0rc1", 660, 610),
        ("1.88.6", 660, 610),
        ("1.90.0", 660, 610),
        ("1.91.0", 610, 610),
        ("1.93.0", 610, 610),
        ("1.94.0", 20, 20),
        ("1.105.7", 20, 20),
    ],
)
def test_what_the_code_keeps_is_more_than_the_promise_where_times_are_fixed(
    release: str, kept_s: float, told_s: float
) -> None:
    """Of a TTL of 10 s; with the variable for keys, users and teams set, the second."""
    target = LiteLLMTarget(release_of(release), Environment(Path("nowhere"), RECORD))
    assert target.kept_by_code_s(10.0) == kept_s
    assert target.kept_by_code_s(10.0, management_ttl=True) == told_s


@pytest.mark.parametrize(
    ("variant", "kept_s"), [("litellm_1_84", 310), ("litellm_1_94", 20), ("memory_only", 10)]
)
def test_what_a_reference_variant_keeps_follows_its_switches(variant: str, kept_s: float) -> None:
    target = ReferenceTarget(load_variants()[variant])
    assert target.kept_by_code_s(10.0, time_scale=0.5) == kept_s


@pytest.mark.parametrize(
    ("variant", "told"), [("recommended", True), ("litellm_1_84", False), ("memory_only", False)]
)
def test_a_reference_variant_tells_other_workers_by_its_mechanism(variant: str, told: bool) -> None:
    target = ReferenceTarget(load_variants()[variant])
    assert target.broadcasts("key-block") is told


@pytest.mark.parametrize(("release", "named"), [("1.96.2", True), ("1.105.7", False)])
def test_releases_that_read_jointly_do_not_name_every_read(release: str, named: bool) -> None:
    assert (
        LiteLLMTarget(release_of(release), Environment(Path("nowhere"), RECORD)).names_reads
        is named
    )
