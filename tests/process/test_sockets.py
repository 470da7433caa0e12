from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.process import sockets
from harness.process.sockets import free_port, hold, listen, replica_sockets, unread


def test_every_replica_and_worker_has_a_socket_of_its_own() -> None:
    with replica_sockets(3, 2, None) as fleet:
        ports = [one.clients.getsockname() for one in fleet]
        ports += [listener.getsockname() for one in fleet for listener in one.metrics]
        assert len(set(ports)) == 9
        assert {host for host, _ in ports} == {"127.0.0.1"}
        assert fleet[1].descriptors() == (
            fleet[1].clients.fileno(),
            fleet[1].metrics[0].fileno(),
            fleet[1].metrics[1].fileno(),
        )
    assert all(one.clients.fileno() == -1 for one in fleet)


def above_a_free_port() -> socket.socket:
    """A socket on a port whose neighbour below is free."""
    while True:
        taken = listen()
        with contextlib.suppress(SetupError):
            listen(taken.getsockname()[1] - 1).close()
            return taken
        taken.close()


def test_a_taken_port_closes_those_before_it() -> None:
    with above_a_free_port() as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(SetupError, match=rf"Port \[{port}\].*is in use"),
            replica_sockets(2, 1, port - 1),
        ):
            pass
    for freed in (port - 1, port):
        listen(freed).close()


def test_too_many_sockets_are_a_clear_error_and_the_limit_can_be_raised() -> None:
    lowered = """
import resource
from harness.errors import SetupError
from harness.process.sockets import raise_open_files_limit, replica_sockets
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
try:
    with replica_sockets(16, 4, None):
        print("opened")
except SetupError as error:
    print(error)
raise_open_files_limit()
with replica_sockets(16, 4, None) as fleet:
    print(len(fleet))
"""
    shown = subprocess.run(
        [sys.executable, "-c", lowered], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "Raise the limit of open files (ulimit -n), or take fewer replicas" in shown[0]
    assert shown[1] == "16"


def test_a_port_that_does_not_exist() -> None:
    with pytest.raises(SetupError, match=r"no port \[65536\]"), replica_sockets(2, 1, 65_535):
        pass


def test_a_free_port_is_free_and_no_connection_gets_it() -> None:
    port = free_port()
    listen(port).close()
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    assert not given.exists() or port < int(given.read_text().split()[0])


def test_a_taken_port_is_no_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen() as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(sockets, "_APART", range(port, port + 1))
        monkeypatch.setattr(sockets, "_DRAWS", 1)
        with pytest.raises(SetupError, match=r"None of .* is free"):
            free_port()


def test_a_held_port_refuses_and_can_be_taken_again() -> None:
    port = free_port()
    with hold(port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with listen(port) as again:
            assert again.getsockname()[1] == port


def test_a_port_that_someone_listens_on_cannot_be_held() -> None:
    with listen() as taken, pytest.raises(OSError, match="in use"):
        hold(taken.getsockname()[1])


def test_what_a_server_has_not_read_is_counted_by_connection() -> None:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(listen())
        port = listener.getsockname()[1]
        idle, waiting, gone = (
            opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(3)
        )
        accepted = opened.enter_context(listener.accept()[0])
        assert accepted.getpeername() == idle.getsockname()
        assert unread(port) == 0

        # One that was accepted, one in the queue, and one that its client has given up.
        idle.sendall(b"GET / HTTP/1.1\r\n")
        waiting.sendall(b"GET / HTTP/1.1\r\n")
        gone.sendall(b"GET / HTTP/1.1\r\n")
        gone.close()
        assert unread(port) == 3

        accepted.recv(1024)
        assert unread(port) == 2
        idle.close()
        assert unread(port) == 2, "a close is nothing to read"
