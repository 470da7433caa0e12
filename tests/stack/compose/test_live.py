"""The whole stack, up: eight replicas found, loaded, killed, scaled, and nothing left.

Runs where the variable AUTHCACHE_COMPOSE is set, which `.ci/compose` does once it has a Docker and
images. The tests tell one story, in the order in which they stand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from harness.live.compose_sidecars import LOCUST_PORT, PROMETHEUS_PORT
from harness.stack.compose.balancer import Server, parse
from harness.stack.compose.fleet import PROXY_PORT, STATS_PORT
from harness.stack.compose.kept import EXPORTER_PORT
from harness.stack.compose.project import KEPT_PROJECT, LABEL, compose_folder
from tests.dashboards.boards import ALL_TARGETS
from tools.dashboards.substitute import EVERYTHING, PanelQuery, substituted

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        "AUTHCACHE_COMPOSE" not in os.environ,
        reason="AUTHCACHE_COMPOSE is not set: .ci/compose sets it where there is a Docker",
    ),
]

T = TypeVar("T")
VARIANTS = ("recommended", "litellm_1_84")
PASSWORD = """p@ss/w:o$r'd %25"#\\x"""
"""Full of what addresses, TOML, Compose and shells have a use for."""
REPLICAS = 8
WORKERS = 2
PATIENCE_S = 120.0
OURS = f"label={LABEL}={KEPT_PROJECT}"
DOCKER = os.environ.get("DOCKER", "docker")


def local(variable: str, default: int, fleet: int = 0) -> str:
    return f"http://127.0.0.1:{int(os.environ.get(variable) or default) + fleet}"


LOCUST = local("LOCUST_PORT", LOCUST_PORT)
PROMETHEUS = local("PROMETHEUS_PORT", PROMETHEUS_PORT)
EXPORTER = local("EXPORTER_PORT", EXPORTER_PORT)


def docker(*words: str) -> str:
    done = subprocess.run([DOCKER, *words], capture_output=True, text=True, check=True)
    return done.stdout


def harness(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def up(folder: Path, replicas: int, locust_workers: int = WORKERS) -> str:
    return harness(
        *("up", "--scenario", "smoke", "--variants", ",".join(VARIANTS), "--grafana", "off"),
        *("--replicas", str(replicas), "--locust-workers", str(locust_workers)),
        *("--runs-dir", str(folder)),
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POSTGRES_PASSWORD", PASSWORD)
            told = up(tmp_path_factory.mktemp("runs"), REPLICAS)
        yield told
    finally:
        harness("down")


def eventually(what: str, ask: Callable[[], T], right: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = ask()
        if right(value):
            return value
        assert time.monotonic() < deadline, f"{what}: still {value}"
        time.sleep(0.5)


def prometheus(expr: str) -> float:
    reply = httpx.get(f"{PROMETHEUS}/api/v1/query", params={"query": expr})
    found: list[dict[str, Any]] = reply.raise_for_status().json()["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def servers(variant: str) -> list[Server]:
    """The replicas of a variant as its HAProxy knows them, up or not."""
    stats = local("STATS_PORT", STATS_PORT, VARIANTS.index(variant))
    return parse(httpx.get(f"{stats}/;csv").raise_for_status().text)


def arrived(variant: str) -> int:
    # Of all of them: one whose health check fails for a moment has its requests all the same.
    return sum(server.requests for server in servers(variant))


def ups(variant: str) -> int:
    return sum(server.up for server in servers(variant))


def seen(variant: str) -> float:
    return prometheus(f'count(up{{job="authcache", variant="{variant}"}} == 1)')


def expected(variant: str) -> float:
    return prometheus(f'sum(authcache_replicas_expected{{variant="{variant}"}})')


def completed(variant: str) -> float:
    return prometheus(f'sum(http_requests_total{{variant="{variant}"}})')


def generated(variant: str) -> float:
    return prometheus(f'sum(authcache_generator_requests_total{{variant="{variant}"}})')


def firing() -> set[tuple[str, str]]:
    """Names and variants of the alerts that fire."""
    found = httpx.get(f"{PROMETHEUS}/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
    return {
        (one["labels"]["alertname"], one["labels"].get("variant", ""))
        for one in found
        if one["state"] == "firing"
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_prometheus_sees_every_replica_and_what_watches_them(stack: str, variant: str) -> None:
    assert f"{local('PROXY_PORT', PROXY_PORT, VARIANTS.index(variant))}\n" in stack
    eventually("replicas up", lambda: seen(variant), lambda n: n == REPLICAS)
    balancers = f'count(up{{job="haproxy", variant="{variant}"}} == 1)'
    eventually("haproxy", lambda: prometheus(balancers), lambda n: n == 1)
    assert ups(variant) == REPLICAS
    eventually("expected", lambda: expected(variant), lambda n: n == REPLICAS)


def test_rules_are_evaluated_and_none_fires_on_whole_fleets(stack: str) -> None:
    del stack

    def unhealthy() -> list[dict[str, Any]]:
        reply = httpx.get(f"{PROMETHEUS}/api/v1/rules").raise_for_status().json()
        rules = [rule for group in reply["data"]["groups"] for rule in group["rules"]]
        assert {"ReplicaMissing", "AuthCacheSourceReadsHigh"} <= {rule["name"] for rule in rules}
        return [rule for rule in rules if rule["health"] != "ok"]

    # "unknown" until each has been evaluated.
    eventually("rules", unhealthy, lambda rules: rules == [])
    # What fired while Prometheus had not yet seen the replicas ends with the next evaluation.
    eventually("ReplicaMissing", firing, lambda names: "ReplicaMissing" not in dict(names))
    assert firing() == set()


def test_locusts_workers_have_joined_when_up_has_ended(stack: str) -> None:
    del stack
    assert httpx.get(f"{LOCUST}/worker-count").json()["worker_count"] == WORKERS


def test_load_from_locusts_web_ui_spreads_over_all_replicas(stack: str) -> None:
    del stack
    before = {variant: arrived(variant) for variant in VARIANTS}
    with httpx.Client(base_url=LOCUST, timeout=30) as locust:
        started = locust.post(
            "/swarm",
            data={"user_count": 16, "spawn_rate": 16, "load_model": "open", "arrival_rate": 80},
        )
        assert started.json()["success"], started.text

        def requests() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = locust.get("/stats/requests").json()["stats"]
            return [row for row in rows if row["name"] == "Aggregated"]

        eventually("requests", requests, lambda rows: bool(rows) and rows[0]["num_requests"] > 600)
        # Under load, as rates over four seconds are nothing before.
        eventually("panels", without_data, lambda names: names == [])
        assert locust.post("/stop").json()["success"]
        eventually(
            "stop",
            lambda: locust.get("/stats/requests").json()["state"],
            lambda state: state in {"stopped", "ready"},
        )
        # Locust's workers tell their master every few seconds.
        eventually(
            "Locust and HAProxy count the same",
            lambda: (
                requests()[0]["num_requests"],
                sum(arrived(variant) - before[variant] for variant in VARIANTS),
            ),
            lambda counts: counts[0] == counts[1],
        )

    for variant in VARIANTS:
        load = arrived(variant) - before[variant]
        # What Locust tells the exporter, and through it the dashboards' row "Generator health".
        eventually("the generator's count", partial(generated, variant), partial(same, load))
        shares = [server.requests for server in servers(variant)]
        assert load > 100
        assert len(shares) == REPLICAS
        # One after the other; a worker that was down for a moment has less.
        assert min(shares) >= sum(shares) / REPLICAS / 2, shares
        # With what was sent to see whether the replicas are ready.
        eventually(
            "replicas count the same", partial(completed, variant), partial(same, sum(shares))
        )


def same(one: float, other: float) -> bool:
    return one == other


def without_data() -> list[str]:
    """Queries of the dashboards that have nothing to show of a fleet."""
    return [target.name for target in ALL_TARGETS if shown(target) != set(VARIANTS)]


def shown(target: PanelQuery) -> set[str]:
    everything = dict.fromkeys(("variant", "replica", "key_scope", "object"), EVERYTHING)
    expr = substituted(target.expr, everything | {"__rate_interval": "4s"})
    reply = httpx.get(f"{PROMETHEUS}/api/v1/query", params={"query": expr})
    found = reply.raise_for_status().json()["data"]["result"]
    return {one["metric"]["variant"] for one in found if one["value"][1] != "NaN"}


def test_what_is_planted_is_named(stack: str) -> None:
    premise = "Planted: For a team key without a user"
    assert premise in stack
    page = httpx.get(f"{LOCUST}/auth-cache/data", timeout=30).raise_for_status().json()
    assert page["note"].startswith(premise)


def test_the_reference_line_is_that_of_the_scenario(stack: str) -> None:
    del stack
    for variant in VARIANTS:
        line = f'authcache_reference_line_per_1000{{variant="{variant}", key_scope="all"}}'
        # 3 + 2 + 4 + 4 objects, each once a second, at 150 requests/s.
        assert round(prometheus(line), 1) == round(13 / 150 * 1000, 1)


def test_the_alert_of_the_issue_fires_for_the_broken_variant_alone(stack: str) -> None:
    del stack
    eventually(
        "alert", firing, lambda names: ("AuthCacheDeserializeFailures", "litellm_1_84") in names
    )
    assert ("AuthCacheDeserializeFailures", "recommended") not in firing()


def test_nothing_listens_beyond_loopback(stack: str) -> None:
    del stack
    ids = docker("ps", "--quiet", "--filter", OURS).split()
    ports = docker("ps", "--filter", OURS, "--format", "{{.Ports}}")
    pids = docker("inspect", "--format", "{{.State.Pid}}", *ids).split()

    published = [word for word in ports.replace(",", " ").split() if "->" in word]
    assert len(published) >= 6
    assert all(word.startswith("127.0.0.1:") for word in published), published
    inside = {child for pid in pids for child in _tree(int(pid))}
    listening = {
        str(found.laddr[0])  # type: ignore[misc]  # the stub allows for an empty address
        for found in psutil.net_connections("tcp")
        if found.pid in inside and found.status == psutil.CONN_LISTEN
    }
    # Seen from here are those in the host's network: Locust.
    assert listening == {"127.0.0.1"}


def _tree(pid: int) -> set[int]:
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def test_no_container_runs_as_root_or_writes_to_its_image(stack: str) -> None:
    del stack
    for name in docker("ps", "--filter", OURS, "--format", "{{.Names}}").split():
        pid = int(docker("inspect", "--format", "{{.State.Pid}}", name))
        assert docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", name) == "true\n"
        assert psutil.Process(pid).uids().effective != 0, name


def test_compose_can_be_called_by_hand(stack: str) -> None:
    """As docs/compose.md says, with nothing but the generated file of settings."""
    del stack
    compose, generated = compose_folder(), compose_folder() / "generated" / KEPT_PROJECT
    layers = [compose / name for name in ("core.yaml", "observability.yaml", "locust.yaml")]
    files = [f"--file={path}" for path in (*layers, *generated.glob("fleet-*.json"))]
    words = ("compose", "-p", KEPT_PROJECT, "--env-file", str(generated / ".env"), *files)

    services = json.loads(docker(*words, "config", "--format", "json"))["services"]

    # In what it prints, a dollar is doubled.
    found = services["postgres"]["environment"]["POSTGRES_PASSWORD"].replace("$$", "$")
    assert found == PASSWORD
    assert "the key's alias" in services["locust"]["environment"]["AUTHCACHE_NOTE"]
    assert len(docker(*words, "ps", "--quiet").split()) == 2 * (REPLICAS + 2) + 4 + WORKERS


def test_metrics_carry_no_key_and_no_id(stack: str) -> None:
    del stack
    keys = (compose_folder() / "generated" / KEPT_PROJECT / "keys.json").read_text()
    secrets = [word for word in keys.replace('"', " ").split() if word.startswith("sk-")]
    reply = httpx.get(f"{EXPORTER}/snapshots", timeout=30).raise_for_status().text

    assert len(secrets) >= 4
    assert "authcache_lookups_total" in reply
    assert not [secret for secret in secrets if secret in reply]
    assert "sk-" not in reply


def test_a_replica_that_is_killed_is_missed(stack: str) -> None:
    del stack
    docker("kill", f"{KEPT_PROJECT}-proxy-recommended-3")

    eventually("haproxy", lambda: ups("recommended"), lambda n: n == REPLICAS - 1)
    eventually("prometheus", lambda: seen("recommended"), lambda n: n == REPLICAS - 1)
    eventually("alert", firing, lambda names: ("ReplicaMissing", "recommended") in names)
    assert ("ReplicaMissing", "litellm_1_84") not in firing()


def test_up_once_more_brings_back_what_is_missing(stack: str, tmp_path: Path) -> None:
    del stack
    told = up(tmp_path, REPLICAS)

    assert f"proxy-recommended: {REPLICAS - 1} running, {REPLICAS} wanted" in told
    assert "proxy-litellm-1-84:" not in told
    assert ups("recommended") == REPLICAS
    eventually("prometheus", lambda: seen("recommended"), lambda n: n == REPLICAS)


def test_scaling_from_eight_to_three_is_seen(stack: str, tmp_path: Path) -> None:
    del stack
    told = up(tmp_path, 3, locust_workers=1)

    assert httpx.get(f"{LOCUST}/worker-count").json()["worker_count"] == 1
    for variant in VARIANTS:
        assert f"proxy-{variant.replace('_', '-')}: {REPLICAS} running, 3 wanted" in told
        assert len(servers(variant)) == ups(variant) == 3
        eventually("prometheus", partial(seen, variant), lambda n: n == 3)
        eventually("expected", partial(expected, variant), lambda n: n == 3)


def test_down_leaves_nothing(stack: str) -> None:
    del stack
    assert harness("down") == f"{KEPT_PROJECT}: down\n"

    for what in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        assert docker(*what, "--quiet", "--filter", OURS) == ""
    assert not (compose_folder() / "generated" / KEPT_PROJECT).exists()
