"""Faults in containers; Docker is the fake, which keeps containers in a file."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.domain.faults import FAULTS, PlannedFault
from harness.errors import InvalidRunError
from harness.process.sockets import listen
from harness.stack.compose import breaker
from harness.stack.compose.breaker import BREAKS, ComposeBreaker
from harness.stack.compose.docker import find_docker
from harness.stack.compose.fleet import FleetPlace
from harness.stack.compose.stack import ComposeStack
from tests.process.test_groups import in_cancelled_task
from tests.stack.compose.conftest import FakeDocker
from tests.stack.fakes import FakeTarget, spec


def planned(what: str, replica: int = 1) -> PlannedFault:
    return PlannedFault(1, what, 0.0, 1.0, replica=replica)


class Breaking:
    """A fleet of two replicas in the fake's containers."""

    def __init__(self, docker: FakeDocker, containers: Path, *, redis: bool = True) -> None:
        self.docker, self._containers = docker, containers
        self.planned: set[str] = set()
        self.paused: set[str] = set()
        self.waits = 0
        target = FakeTarget(uses_redis=redis)
        place = FleetPlace(spec("one", target, replicas=2), "one", "role", "pw", "pw", 1, 2, 3)
        self.breaker = ComposeBreaker(
            find_docker({}),
            "project",
            place,
            planned=self.planned,
            paused=self.paused,
            ready=self._ready,
        )

    async def _ready(self) -> None:
        assert all(self.running().values())
        self.waits += 1

    def running(self) -> dict[str, bool]:
        rows = json.loads(self._containers.read_text())
        return {f"{row['service']}-{row['number']}": row["running"] for row in rows}

    @property
    def asked(self) -> list[list[str]]:
        return [call for call in self.docker.calls if call[0] not in {"ps", "container"}]


@pytest.fixture
def breaking(docker: FakeDocker, tmp_path: Path) -> Breaking:
    containers = tmp_path / "containers.json"
    names = (("redis-one", 1), ("proxy-one", 1), ("proxy-one", 2), ("proxy-two", 2))
    rows = [{"service": service, "number": n, "running": True} for service, n in names]
    containers.write_text(json.dumps(rows))
    docker.answers(FAKE_CONTAINERS_FILE=str(containers))
    return Breaking(docker, containers)


@pytest.fixture
def unread_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port on which one connection waits."""
    with ExitStack() as opened:
        listener = opened.enter_context(listen())
        port = int(listener.getsockname()[1])
        client = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        client.sendall(b"GET / HTTP/1.1\r\n")
        monkeypatch.setattr(breaker, "PAUSED", dict.fromkeys(breaker.PAUSED, port))
        yield port


def test_a_stack_says_what_it_can_break() -> None:
    assert ComposeStack.breaks == BREAKS <= FAULTS.keys()


@pytest.mark.parametrize(("what", "number"), [("replica-kill", "KILL"), ("replica-term", "TERM")])
async def test_a_replica_ends_and_starts_again(breaking: Breaking, what: str, number: str) -> None:
    await breaking.breaker.begin(planned(what))
    assert not breaking.running()["proxy-one-2"]
    assert breaking.planned == {"proxy-one-2"}

    assert await breaking.breaker.end() == 1
    assert await breaking.breaker.end() == 1

    assert breaking.asked == [["kill", "--signal", number, "proxy-one-2"], ["start", "proxy-one-2"]]
    assert all(breaking.running().values())
    assert breaking.waits == 1
    assert "proxy-one-2 ended with exit code 137" in breaking.breaker.detail


@pytest.mark.usefixtures("unread_port")
@pytest.mark.parametrize(
    ("what", "where"), [("redis-hang", "redis-one-1"), ("replica-hang", "proxy-one-2")]
)
async def test_a_pause_is_counted_by_what_waits(breaking: Breaking, what: str, where: str) -> None:
    await breaking.breaker.begin(planned(what))
    assert breaking.paused == {where}

    assert await breaking.breaker.end() == 1

    assert breaking.asked == [["pause", where], ["unpause", where]]
    assert breaking.paused == set()
    assert breaking.waits == 1


@pytest.mark.usefixtures("unread_port")
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_what_is_paused_goes_on_however_often_its_run_is_cancelled(
    breaking: Breaking, times: int
) -> None:
    await breaking.breaker.begin(planned("replica-hang"))

    await in_cancelled_task(breaking.breaker.end, times)

    assert breaking.asked == [["pause", "proxy-one-2"], ["unpause", "proxy-one-2"]]
    assert breaking.paused == set()


async def test_a_container_that_is_not_there_cannot_be_broken(breaking: Breaking) -> None:
    with pytest.raises(InvalidRunError, match=r"\[replica-kill\] of \[one\].*no such container"):
        await breaking.breaker.begin(planned("replica-kill", replica=7))

    assert breaking.asked == []
    assert await breaking.breaker.end() == 0


async def test_what_is_paused_goes_on_before_it_is_asked_to_end(
    docker: FakeDocker, tmp_path: Path
) -> None:
    docker.answers(FAKE_IDS="abc\n")
    stack = ComposeStack(tmp_path)
    stack._created = True
    stack._paused.add("abc")

    await stack.close()

    words = [call[0] for call in docker.calls]
    assert words.index("unpause") < words.index("stop")
