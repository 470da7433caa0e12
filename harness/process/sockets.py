"""Loopback ports: claimed for replicas, found for servers."""

from __future__ import annotations

import contextlib
import errno
import random
import resource
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SetupError

LOOPBACK = "127.0.0.1"
_BACKLOG = 1024
_LAST_PORT = 65_535
_APART = range(20_000, 32_000)
"""Below the ports that systems give to connections (Linux: from 32768, others: from 49152)."""
_DRAWS = 100
_OPEN_FILES = 65_536
_OPEN = {"01", "08"}
"""ESTABLISHED and CLOSE_WAIT, as ``/proc/net/tcp`` has them."""


@dataclass(frozen=True, slots=True)
class ReplicaSockets:
    """The listening sockets of one replica: one for its clients, one per worker for metrics."""

    clients: socket.socket
    metrics: tuple[socket.socket, ...]

    def descriptors(self) -> tuple[int, ...]:
        """What the replica must inherit."""
        return (self.clients.fileno(), *(one.fileno() for one in self.metrics))


def url(listener: socket.socket, path: str = "") -> str:
    """The address of a listening socket."""
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}{path}"


def listen(port: int = 0) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one.

    The harness binds, not the replica: so a port is taken before anything is started, and
    no other process can take it.

    Raises:
        SetupError: The port is in use, or cannot be bound; too many files are open.
    """
    if port > _LAST_PORT:
        raise SetupError(f"There is no port [{port}]. Choose a lower PORT, or fewer replicas.")
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise SetupError(
            f"No socket can be opened [{error.strerror}]. Raise the limit of open files "
            "(ulimit -n), or take fewer replicas or workers."
        ) from error
    # A port with connections in TIME_WAIT only is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(
                f"Port [{port}] on {LOOPBACK} is in use. Choose another PORT, "
                "or end what listens there."
            ) from error
        raise SetupError(
            f"Port [{port}] on {LOOPBACK} cannot be taken [{error.strerror}]. "
            "Choose another PORT, above 1023."
        ) from error
    return listener


def raise_open_files_limit() -> None:
    """Raise the limit of open files, and so of sockets, of this process and its children.

    As far as the system allows, 65,536 at most: some programs walk through all numbers of files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems refuse what they say is allowed.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def hold(port: int) -> socket.socket:
    """A socket that keeps a port while nothing listens on it: connections to it are refused.

    Close it right before the port is taken again. Raises OSError.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((LOOPBACK, port))
    except OSError:
        held.close()
        raise
    return held


@contextlib.contextmanager
def replica_sockets(
    replicas: int, workers: int, base_port: int | None
) -> Iterator[list[ReplicaSockets]]:
    """The sockets of a fleet; the harness's copies are closed at the end of the block."""
    with contextlib.ExitStack() as opened:
        # The requested ports first: a free one taken for metrics might be one of them.
        ports = [0 if base_port is None else base_port + replica for replica in range(replicas)]
        clients = [opened.enter_context(listen(port)) for port in ports]
        yield [
            ReplicaSockets(one, tuple(opened.enter_context(listen()) for _ in range(workers)))
            for one in clients
        ]


def unread(port: int, pid: int | None = None) -> int:
    """Connections to a port, of IPv4, with bytes that its server has not read.

    Also those whose client has closed them by now.

    Args:
        port: of the server.
        pid: a process in the server's network, if that is not our own.

    Raises:
        OSError: the system has no /proc, or the process is not there.
    """
    found = 0
    for line in Path(f"/proc/{pid or 'self'}/net/tcp").read_text().splitlines()[1:]:
        # Columns of proc(5): number, local address, remote one, state, queues of both ways.
        _, local, _, state, queues, *_ = line.split()
        # A close counts as one byte.
        waiting = int(queues.partition(":")[2], 16) > 1
        found += waiting and state in _OPEN and int(local.partition(":")[2], 16) == port
    return found


def free_port() -> int:
    """A port that was free just now, for a server that must bind it by itself.

    The system gives it to no connection and to no other listener before that server binds it, as it
    does with the port of a listener that was closed.

    Raises:
        SetupError: None of those tried is free.
    """
    # Runs beside each other must not draw alike, as those do that set the seed of `random`.
    ports = random.SystemRandom().sample(_APART, _DRAWS)
    for port in ports:
        with contextlib.suppress(SetupError):
            listen(port).close()
            return port
    raise SetupError(
        f"None of [{_DRAWS}] ports on {LOOPBACK} between {_APART.start} and {_APART.stop} is free. "
        "End what listens there."
    )
