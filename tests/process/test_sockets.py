from __future__ import annotations

import contextlib
import socket

import pytest

from harness.errors import SetupError
from harness.process.sockets import free_port, listen, replica_sockets


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


def test_a_port_that_does_not_exist() -> None:
    with pytest.raises(SetupError, match=r"no port \[65536\]"), replica_sockets(2, 1, 65_535):
        pass


def test_a_free_port_is_free() -> None:
    listen(free_port()).close()
