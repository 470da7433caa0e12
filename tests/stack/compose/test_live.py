"""The whole stack, up: eight replicas found, loaded, killed, scaled, and nothing left.

Runs where the variable AUTHCACHE_COMPOSE is set, which `.ci/compose` does once it has a Docker and
images. The tests tell one story, in the order in which they stand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from harness.stack.compose.balancer import parse
from harness.stack.compose.project import KEPT_PROJECT, LABEL, compose_folder

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        "AUTHCACHE_COMPOSE" not in os.environ,
        reason="AUTHCACHE_COMPOSE is not set: .ci/compose sets it where there is a Docker",
    ),
]

T = TypeVar("T")
REPLICAS = 8
PATIENCE_S = 120.0
OURS = f"label={LABEL}={KEPT_PROJECT}"
DOCKER = os.environ.get("DOCKER", "docker")


def docker(*words: str) -> str:
    done = subprocess.run([DOCKER, *words], capture_output=True, text=True, check=True)
    return done.stdout


def harness(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def up(folder: Path, replicas: int) -> str:
    return harness(
        *("up", "--scenario", "smoke", "--variants", "recommended", "--replicas", str(replicas)),
        *("--grafana", "off", "--runs-dir", str(folder)),
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        yield up(tmp_path_factory.mktemp("runs"), REPLICAS)
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
    reply = httpx.get("http://127.0.0.1:9090/api/v1/query", params={"query": expr})
    found: list[dict[str, Any]] = reply.raise_for_status().json()["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def balanced() -> list[int]:
    """Requests of each replica that HAProxy has up."""
    page = httpx.get("http://127.0.0.1:8404/;csv").raise_for_status().text
    return [server.requests for server in parse(page) if server.up]


UP = 'count(up{job="authcache", variant="recommended"} == 1)'


def test_prometheus_sees_every_replica_and_what_watches_them(stack: str) -> None:
    assert "http://127.0.0.1:4000" in stack
    eventually("replicas up", lambda: prometheus(UP), lambda n: n == REPLICAS)
    eventually("haproxy", lambda: prometheus('count(up{job="haproxy"} == 1)'), lambda n: n == 1)
    assert len(balanced()) == REPLICAS
    expected = 'sum(authcache_replicas_expected{variant="recommended"})'
    eventually("expected", lambda: prometheus(expected), lambda n: n == REPLICAS)


def test_rules_are_loaded_and_none_fires_on_a_whole_fleet(stack: str) -> None:
    del stack
    reply = httpx.get("http://127.0.0.1:9090/api/v1/rules").raise_for_status().json()

    rules = {rule["name"]: rule for group in reply["data"]["groups"] for rule in group["rules"]}
    assert "ReplicaMissing" in rules
    assert rules["ReplicaMissing"]["health"] in {"ok", "unknown"}


def test_load_from_locusts_web_ui_spreads_over_all_replicas(stack: str) -> None:
    del stack
    before = sum(balanced())
    with httpx.Client(base_url="http://127.0.0.1:8089", timeout=30) as locust:
        eventually(
            "workers",
            lambda: locust.get("/worker-count").json()["worker_count"],
            lambda n: n == 2,
        )
        started = locust.post(
            "/swarm",
            data={"user_count": 8, "spawn_rate": 8, "load_model": "open", "arrival_rate": 60},
        )
        assert started.json()["success"], started.text

        def requests() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = locust.get("/stats/requests").json()["stats"]
            return [row for row in rows if row["name"] == "Aggregated"]

        eventually("requests", requests, lambda rows: bool(rows) and rows[0]["num_requests"] > 200)
        assert locust.post("/stop").json()["success"]
        eventually(
            "stop",
            lambda: locust.get("/stats/requests").json()["state"],
            lambda state: state in {"stopped", "ready"},
        )
        # Locust's workers tell their master every few seconds.
        sent, arrived = eventually(
            "Locust and HAProxy count the same",
            lambda: (requests()[0]["num_requests"], sum(balanced()) - before),
            lambda counts: counts[0] == counts[1],
        )
        assert requests()[0]["num_failures"] == 0

    shares = balanced()
    # One after the other: nobody is more than one round ahead of anybody.
    assert max(shares) - min(shares) <= 1, shares
    assert sent > 200
    completed = 'sum(http_requests_total{variant="recommended"})'
    # With what was sent to see whether the replicas are ready.
    total = arrived + before
    eventually("replicas count the same", lambda: prometheus(completed), lambda n: n == total)


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


def test_nobody_runs_as_root_or_writes_to_its_image(stack: str) -> None:
    del stack
    for name in docker("ps", "--filter", OURS, "--format", "{{.Names}}").split():
        pid = int(docker("inspect", "--format", "{{.State.Pid}}", name))
        assert docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", name) == "true\n"
        assert psutil.Process(pid).uids().effective != 0, name


def test_metrics_carry_no_key_and_no_id(stack: str) -> None:
    del stack
    keys = (compose_folder() / "generated" / KEPT_PROJECT / "keys.json").read_text()
    secrets = [word for word in keys.replace('"', " ").split() if word.startswith("sk-")]
    reply = httpx.get("http://127.0.0.1:9464/snapshots", timeout=30).raise_for_status().text

    assert len(secrets) >= 4
    assert "authcache_lookups_total" in reply
    assert not [secret for secret in secrets if secret in reply]
    assert "sk-" not in reply


def test_a_replica_that_is_killed_is_missed(stack: str) -> None:
    del stack
    docker("kill", f"{KEPT_PROJECT}-proxy-recommended-3")

    eventually("haproxy", lambda: len(balanced()), lambda n: n == REPLICAS - 1)
    eventually("prometheus", lambda: prometheus(UP), lambda n: n == REPLICAS - 1)
    alert = 'count(ALERTS{alertname="ReplicaMissing", variant="recommended"})'
    eventually("alert", lambda: prometheus(alert), lambda n: n >= 1)


def test_scaling_from_eight_to_three_is_seen(stack: str, tmp_path: Path) -> None:
    del stack
    told = up(tmp_path, 3)

    assert "scaling recommended from 8 to 3" in told
    assert len(balanced()) == 3
    eventually("prometheus", lambda: prometheus(UP), lambda n: n == 3)
    expected = 'sum(authcache_replicas_expected{variant="recommended"})'
    eventually("expected", lambda: prometheus(expected), lambda n: n == 3)


def test_down_leaves_nothing(stack: str) -> None:
    del stack
    assert harness("down") == f"{KEPT_PROJECT}: down\n"

    for what in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        assert docker(*what, "--quiet", "--filter", OURS) == ""
    assert not (compose_folder() / "generated" / KEPT_PROJECT).exists()
