"""The smaller parts: HAProxy's page, control groups, deaths, ports, owners."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from harness.errors import SetupError, UsageError
from harness.stack.base import Servers
from harness.stack.compose import project as projects
from harness.stack.compose.balancer import Server, parse
from harness.stack.compose.containers import Container, containers, exit_report, keep_logs
from harness.stack.compose.deaths import Deaths
from harness.stack.compose.docker import Docker, check, find_docker
from harness.stack.compose.project import IMAGES, Project
from harness.stack.compose.stack import ComposeStack
from harness.stack.compose.usage import Meter, meter
from harness.stack.registry import STACKS, make_stack
from tests.stack.compose.conftest import FakeDocker
from tests.stack.fakes import FakeTarget, eventually, runs, spec

STATS = """\
# pxname,svname,qcur,stot,status,addr,
clients,FRONTEND,0,7,OPEN,,
replicas,replica1,0,4,UP,10.0.0.3:4000,
replicas,replica2,0,3,DOWN,10.0.0.4:4000,
replicas,replica3,0,0,MAINT (resolution),,
replicas,BACKEND,0,7,UP,,
stats,FRONTEND,0,9,OPEN,,
"""


def test_places_that_no_replica_has_taken_are_left_out() -> None:
    assert parse(STATS) == [
        Server("replica1", "10.0.0.3:4000", up=True, requests=4),
        Server("replica2", "10.0.0.4:4000", up=False, requests=3),
    ]


ID = "f" * 64


def control_groups(tmp_path: Path, version: int) -> tuple[Path, Path]:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "7").mkdir(parents=True)
    if version == 1:
        (proc / "7" / "cgroup").write_text(
            f"4:memory:/docker/{ID}\n3:cpu,cpuacct:/docker/{ID}\n0::/elsewhere\n"
        )
        group = groups / "cpuacct" / "docker" / ID
        group.mkdir(parents=True)
        (group / "cpuacct.usage").write_text("2500000000\n")
    else:
        (proc / "7" / "cgroup").write_text(f"0::/system.slice/docker-{ID}.scope\n")
        group = groups / "system.slice" / f"docker-{ID}.scope"
        group.mkdir(parents=True)
        (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    return proc, groups


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_accounts_are_read_and_kept_when_it_is_gone(
    tmp_path: Path, version: int
) -> None:
    proc, groups = control_groups(tmp_path, version)
    one = meter("fleet:a", ID, 7, proc, groups)
    accounts = Meter()

    assert one is not None
    used = accounts.measure([one])
    one.cpu.unlink()
    afterwards = accounts.measure([one])

    assert used == afterwards == {"fleet:a": 2.5}


def test_a_process_of_another_machine_with_the_same_number_is_not_metered(tmp_path: Path) -> None:
    proc, groups = control_groups(tmp_path, 2)

    assert meter("fleet:a", "0" * 64, 7, proc, groups) is None
    assert meter("fleet:a", ID, 8, proc, groups) is None


async def test_a_planned_death_is_passed_over(docker: FakeDocker) -> None:
    docker.answers(FAKE_EVENTS='{"id": "one"}\n{"id": "two"}')
    deaths = Deaths(find_docker({}), "mine")

    await deaths.start()
    ended = await deaths.next(lambda container: container == "one")
    await deaths.close()

    assert ended == "two"
    events = next(call for call in docker.calls if call[0] == "events")
    assert "label=com.docker.compose.project=mine" in events
    assert events[events.index("--since") + 1] == "2026-01-01T00:00:00Z"


async def test_a_daemon_that_goes_away_is_reported_and_an_end_of_our_own_is_not(
    docker: FakeDocker,
) -> None:
    docker.answers()
    gone, closed = Deaths(find_docker({}), "mine"), Deaths(find_docker({}), "mine")

    await gone.start()
    assert await gone.next(lambda _: False) is None
    await closed.start()
    await closed.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(closed.next(lambda _: False), 0.2)
    await gone.close()


RAW = {
    "Id": ID,
    "Name": "/mine-proxy-a-2",
    "Config": {
        "Labels": {
            "com.docker.compose.service": "proxy-a",
            "com.docker.compose.container-number": "2",
        }
    },
    "State": {"Pid": 0, "Running": False, "ExitCode": 3},
}


async def test_a_container_that_ended_is_reported_with_its_last_words(
    docker: FakeDocker, tmp_path: Path
) -> None:
    docker.answers(FAKE_IDS=ID, FAKE_CONTAINERS=json.dumps([RAW]))

    found = await containers(find_docker({}), "mine")
    text = await exit_report(find_docker({}), found[0])
    await keep_logs(find_docker({}), "mine", tmp_path)

    assert found == [Container(ID, "mine-proxy-a-2", "proxy-a", 2, 0, running=False, exit_code=3)]
    assert "exit code [3]" in text
    assert "    it went wrong" in text
    assert (tmp_path / "proxy-a-2.log").read_text() == "first line\nit went wrong\n"


async def test_versions(docker: FakeDocker) -> None:
    docker.answers()

    versions = await check(find_docker({}))

    assert (versions.engine, versions.compose) == ("20.10.24", "2.26.1-4")


@pytest.mark.integration
async def test_a_command_that_does_not_end_is_ended_with_its_plugin(
    docker: FakeDocker, tmp_path: Path
) -> None:
    docker.answers()
    pids = tmp_path / "pids"
    command = _sleeper(tmp_path, f"sleep 600 & echo $$ $! >{pids}; wait")

    with pytest.raises(SetupError, match=r"docker info\] did not end within \[0\.5 s\]"):
        await command("info", timeout_s=0.5)

    assert not [pid for pid in pids.read_text().split() if runs(int(pid))]


@pytest.mark.integration
@pytest.mark.parametrize("cancelled", [1, 2])
async def test_a_plugin_that_does_not_listen_is_killed(
    docker: FakeDocker, tmp_path: Path, cancelled: int
) -> None:
    docker.answers()
    pids = tmp_path / "pids"
    deaf = "trap '' TERM; while :; do sleep 1; done"
    command = _sleeper(tmp_path, f'sh -c "{deaf}" & echo $$ $! >{pids}; wait', grace_s=0.3)
    work = asyncio.create_task(command("compose", "up"))
    assert await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)

    work.cancel()
    for _ in range(cancelled - 1):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert await eventually(lambda: not [n for n in pids.read_text().split() if runs(int(n))])


def _sleeper(tmp_path: Path, script: str, grace_s: float = 10.0) -> Docker:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text(f"#!/bin/sh\n{script}\n")
    sleeper.chmod(0o755)
    return Docker(str(sleeper), grace_s=grace_s)


@pytest.mark.usefixtures("docker")
def test_the_folder_is_for_its_owner_alone(folder: Path) -> None:
    one = Project("mine", find_docker({}))
    one.create()

    assert one.folder == folder / "generated" / "mine"
    assert one.folder.stat().st_mode & 0o777 == 0o700
    assert (one.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert len(one.settings["POSTGRES_PASSWORD"]) >= 32
    assert one.docker.env["POSTGRES_PASSWORD"] == one.settings["POSTGRES_PASSWORD"]
    with pytest.raises(SetupError, match=r"\[mine\] already.*make down"):
        Project("mine", find_docker({})).create()


@pytest.mark.usefixtures("docker")
def test_a_secret_may_come_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_PASSWORD", "my own")
    monkeypatch.setenv("REDIS_IMAGE", "valkey/valkey:8")
    one = Project("mine", find_docker({}))
    one.create()

    text = (folder / "generated" / "mine" / ".env").read_text()
    assert "GRAFANA_PASSWORD='my own'\n" in text
    assert "REDIS_IMAGE='valkey/valkey:8'\n" in text
    assert f"HAPROXY_IMAGE='{IMAGES['HAPROXY_IMAGE']}'\n" in text


@pytest.mark.usefixtures("docker", "folder")
def test_a_project_is_abandoned_when_its_process_is_gone() -> None:
    one = Project("mine", find_docker({}))
    assert one.abandoned()
    one.create()
    assert not one.abandoned()

    (one.folder / "owner").write_text(f"{os.getpid()} 1.0")
    assert one.abandoned(), "another process has the number now"


@pytest.mark.usefixtures("docker", "folder")
def test_what_is_kept_is_read_again() -> None:
    first = Project("mine", find_docker({}))
    first.create()
    first.layers.append("locust.yaml")
    first.fleets["a"] = first.write("fleet-a.json", "{}")
    first.save({"places": {"a": 1}})

    second = Project("mine", find_docker({}))

    assert second.resume() == {"places": {"a": 1}}
    assert (second.layers, second.fleets, second.settings) == (
        first.layers,
        first.fleets,
        first.settings,
    )


@pytest.mark.usefixtures("docker")
def test_no_port_is_given_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([7001, 7001, 7001, 7002])
    monkeypatch.setattr(projects, "free_port", lambda: next(drawn))
    one = Project("mine", find_docker({}))

    assert [one.free_port(), one.free_port()] == [7001, 7002]


async def test_a_fleet_of_a_run_does_not_start_from_the_compromised_image(
    docker: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.answers()
    monkeypatch.setenv("LITELLM_IMAGE", "litellm/litellm-database:1.107.0")
    target = FakeTarget(kind="litellm", version="1.84.0rc1")

    with pytest.raises(UsageError, match="compromised"):
        await ComposeStack(tmp_path).start(spec("litellm==1.84.0rc1", target))

    assert docker.calls == []


def test_what_is_said_of_a_stack_beforehand_is_true_of_it(
    docker: FakeDocker, tmp_path: Path
) -> None:
    docker.answers()
    for name, kind in STACKS.items():
        stack = make_stack(name, tmp_path, Servers())
        assert stack.name == name
        assert (stack.host is None) == bool(kind.not_recorded), name
        assert (stack.exporter_address is None) != bool(kind.not_recorded), name


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("variable", ["POSTGRES_DSN", "REDIS_URL"])
def test_containers_take_no_servers_of_the_users(tmp_path: Path, variable: str) -> None:
    servers = Servers(**{variable.lower(): "redis://one"})
    with pytest.raises(UsageError, match=f"{variable} is set"):
        make_stack("compose", tmp_path, servers)


PASSWORDS = {
    "it's $HOME": r"'it\'s $HOME'",
    'a"b#c\\d': r"""'a"b#c\d'""",
}


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_is_quoted_for_compose(
    folder: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", password)
    one = Project("mine", find_docker({}))
    one.create()

    text = (folder / "generated" / "mine" / ".env").read_text()
    assert f"POSTGRES_PASSWORD={PASSWORDS[password]}\n" in text
    assert one.docker.env["POSTGRES_PASSWORD"] == password


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("password", ["a\nb", "a\rb", "a\\", "a\\'b", "a\x7f"])
def test_a_password_that_compose_could_not_read_back_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("GRAFANA_PASSWORD", password)

    with pytest.raises(SetupError, match=r"GRAFANA_PASSWORD holds.*Choose another") as told:
        Project("mine", find_docker({})).create()

    assert password not in str(told.value)
    assert not (folder / "generated").exists()
