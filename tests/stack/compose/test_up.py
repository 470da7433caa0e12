"""`harness up` on a stack that is up: what it looks at, what it mends, what it refuses.

Docker is the fake, which keeps containers in a file; all pages are one server's.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from harness import installation
from harness.authcache.variants import load_variants
from harness.errors import SetupError
from harness.live import compose_sidecars, compose_up
from harness.live.compose_sidecars import Sidecars, reference_lines
from harness.plan.arms import reference_arm
from harness.plan.plan import make_plan
from harness.process.stop import Stop
from harness.scenario.loader import Changes, load_scenario
from harness.stack.compose import readiness
from harness.stack.compose.fleet import FleetPlace
from harness.stack.compose.kept import KeptStack
from tests.stack.compose.conftest import FakeDocker
from tests.stack.fakes import eventually

pytestmark = pytest.mark.integration

PROXY = "proxy-recommended"
BESIDE = Sidecars(grafana=False, locust_workers=2)
WHOLE = {
    "postgres": 1,
    "redis-recommended": 1,
    PROXY: 3,
    "haproxy-recommended": 1,
    "exporter": 1,
    "prometheus": 1,
    "locust": 1,
    "locust-worker": 2,
}


@dataclass
class Up:
    """A stack that another command has left up."""

    docker: FakeDocker
    folder: Path
    containers: Path
    told: list[str] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)

    async def again(
        self, replicas: int = 3, sidecars: Sidecars = BESIDE, scenario: str = "smoke"
    ) -> str:
        loaded = load_scenario(scenario, Changes(replicas=replicas))
        self.told = []
        await compose_up.up(
            loaded,
            [reference_arm(load_variants(None)["recommended"])],
            sidecars=sidecars,
            runs_dir=self.folder / "runs",
            say=self.told.append,
            stop=self.stop,
        )
        return "\n".join(self.told)

    def ended(self, service: str, *, removed: bool = False) -> None:
        """One container of a service ends."""
        rows = self.rows()
        row = next(row for row in rows if row["service"] == service and row["running"])
        row["running"] = False
        if removed:
            rows.remove(row)
        self.containers.write_text(json.dumps(rows))

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.containers.read_text())
        return rows

    def running(self) -> dict[str, int]:
        services = [row["service"] for row in self.rows() if row["running"]]
        return {service: services.count(service) for service in services}


@pytest.fixture
def stack(
    docker: FakeDocker, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Up]:
    containers = tmp_path / "containers.json"
    rows = [
        {"service": service, "number": number, "running": True}
        for service, count in WHOLE.items()
        for number in range(1, count + 1)
    ]
    containers.write_text(json.dumps(rows))
    docker.answers(FAKE_CONTAINERS_FILE=str(containers))
    monkeypatch.setattr(readiness, "READY_S", 5.0)
    whole = Up(docker, folder, containers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _pages(whole))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        _leave_up(tmp_path, server.server_port)
        yield whole
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _leave_up(
    runs: Path, port: int, sidecars: Sidecars = BESIDE, variant: str = "recommended"
) -> Path:
    """Write what a stack has that is up; returns its folder."""
    arm = reference_arm(replace(load_variants(None)["recommended"], name=variant))
    whole = make_plan(load_scenario("smoke", Changes(replicas=3)), [arm], stack="compose")
    left = KeptStack(runs)
    left.lines = reference_lines(whole)
    left.project.create()
    ports = ("EXPORTER_PORT", "PROMETHEUS_PORT", "LOCUST_PORT", "LOCUST_MASTER_PORT")
    left.project.set(**dict.fromkeys(ports, str(port)))
    spec = whole.fleet(whole.arms[0])
    place = FleetPlace(spec, "recommended", "role", "r0le", "r3dis", port, port, port)
    left.places[spec.name] = place
    left.project.set(**place.secrets)
    left._write(place)
    compose_sidecars.configure(left, whole, sidecars)
    asyncio.run(left.detach({"fleets": compose_up._fingerprint(whole)}))
    return left.project.folder


def _pages(stack: Up) -> type[BaseHTTPRequestHandler]:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running = stack.running()
            body = "fine"
            if self.path == "/;csv":
                servers = [f"replicas,r{i},0,UP,," for i in range(running.get(PROXY, 0))]
                body = "\n".join(["# pxname,svname,stot,status,addr,", *servers])
            elif self.path == "/worker-count":
                body = json.dumps({"worker_count": running.get("locust-worker", 0)})
            self.send_response(200)
            self.end_headers()
            with suppress(BrokenPipeError):
                self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Keep the test's output clean."""

    return Pages


HEALTHY = "Everything is healthy"


async def test_a_whole_stack_stays_as_it_is(stack: Up) -> None:
    before = stack.running()

    told = await stack.again()

    assert HEALTHY in told
    assert "wanted" not in told
    assert stack.running() == before == WHOLE
    assert not any("--force-recreate" in call for call in stack.docker.calls)


@pytest.mark.parametrize("removed", [False, True], ids=["ended", "removed"])
async def test_what_is_missing_is_brought_back(stack: Up, *, removed: bool) -> None:
    services = [name for name in WHOLE if name != "postgres"]
    for service in services:
        stack.ended(service, removed=removed)

    told = await stack.again()

    for service in services:
        assert f"{service}: {WHOLE[service] - 1} running, {WHOLE[service]} wanted" in told
    assert stack.running() == WHOLE
    assert HEALTHY in told


async def test_a_stack_without_its_postgres_is_refused(stack: Up) -> None:
    for row in stack.rows():
        stack.ended(row["service"])

    with pytest.raises(SetupError, match=r"Postgres.*without fsync.*make down"):
        await stack.again()

    assert HEALTHY not in "\n".join(stack.told)
    assert stack.running() == {}


async def test_scaling_that_failed_half_way_is_taken_up_again(stack: Up) -> None:
    stack.docker.answers("up-removes-one-and-fails", FAKE_CONTAINERS_FILE=str(stack.containers))
    with pytest.raises(SetupError, match="could not start"):
        await stack.again(replicas=1)
    assert stack.running()[PROXY] == 2
    stack.docker.answers(FAKE_CONTAINERS_FILE=str(stack.containers))

    told = await stack.again(replicas=3)

    assert f"{PROXY}: 2 running, 3 wanted" in told
    assert stack.running() == WHOLE


async def test_scaling_that_was_interrupted_leaves_a_stack_that_can_be_scaled(stack: Up) -> None:
    stack.docker.answers("up-hangs", FAKE_CONTAINERS_FILE=str(stack.containers))
    work = asyncio.create_task(stack.again(replicas=1))
    assert await eventually(lambda: any("up" in call for call in stack.docker.calls))
    stack.stop.ask(signal.SIGINT)
    await work
    assert HEALTHY not in "\n".join(stack.told)
    stack.stop = Stop()
    stack.docker.answers(FAKE_CONTAINERS_FILE=str(stack.containers))

    assert HEALTHY in await stack.again(replicas=1)
    assert stack.running() == WHOLE | {PROXY: 1}


async def test_the_balancer_must_see_every_replica(
    stack: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "READY_S", 0.3)
    stack.docker.answers("up-does-nothing", FAKE_CONTAINERS_FILE=str(stack.containers))
    stack.ended(PROXY)

    with pytest.raises(SetupError, match=r"sees \[2\] replicas up and should see \[3\]"):
        await stack.again()
    assert HEALTHY not in "\n".join(stack.told)


async def test_locusts_workers_are_scaled_and_waited_for(
    stack: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await stack.again(sidecars=Sidecars(grafana=False, locust_workers=4))
    assert "locust-worker: 2 running, 4 wanted" in told
    assert stack.running() == WHOLE | {"locust-worker": 4}

    monkeypatch.setattr(readiness, "READY_S", 0.3)
    stack.docker.answers("up-does-nothing", FAKE_CONTAINERS_FILE=str(stack.containers))
    with pytest.raises(SetupError, match=r"counts \[4\] workers and should count \[5\]"):
        await stack.again(sidecars=Sidecars(grafana=False, locust_workers=5))
    assert HEALTHY not in "\n".join(stack.told)


async def test_another_stack_is_refused(stack: Up, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"GRAFANA=\[off\], not \[on\].*make down"):
        await stack.again(sidecars=Sidecars(grafana=True, locust_workers=2))
    with pytest.raises(SetupError, match=r"another scenario.*make down"):
        await stack.again(scenario="issue-27874")
    smoke = files("harness.scenario").joinpath("builtin", "smoke.toml").read_text()
    other = tmp_path / "smoke.toml"
    other.write_text(smoke.replace("rate_per_s = 150", "rate_per_s = 160"))
    with pytest.raises(SetupError, match=r"another scenario.*make down"):
        await stack.again(scenario=str(other))
    assert not any("up" in call for call in stack.docker.calls)


async def test_what_is_planted_is_named(stack: Up) -> None:
    told = (await stack.again()).replace("\n", " ")
    env = (stack.folder / "generated" / "authcache" / ".env").read_text()

    assert "Planted: For a team key without a user" in told
    assert "AUTHCACHE_NOTE='Planted: For a team key without a user" in env
    assert r"the key\'s alias" in env, "a quote would end the value"


def test_the_exporter_begins_with_the_reference_line(stack: Up) -> None:
    config = (stack.folder / "generated" / "authcache" / "exporter.toml").read_text()

    # 3 + 2 + 4 + 4 objects, each once in 2 s, at 150 requests/s.
    assert f"all = {13 / 150 * 1000}"[:12] in config


@pytest.mark.usefixtures("docker", "folder")
def test_grafana_gets_the_colours_of_the_fleets(tmp_path: Path) -> None:
    written = _leave_up(tmp_path, 1, Sidecars(grafana=True), variant="my.own") / "dashboards"

    shipped = {
        path.name: path.read_text() for path in installation.shipped("dashboards").glob("*.json")
    }
    assert {path.name for path in written.iterdir()} == shipped.keys() != set()
    for path in written.iterdir():
        text = path.read_text()
        assert text == compose_sidecars.with_colours(shipped[path.name], ["my.own"])
        assert r"|my\\.own)( |$)/" in text
        assert path.stat().st_mode & 0o004, "Grafana reads it as a user of its own"
