"""Worker processes of one replica: started together, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

import click

from harness.process.groups import default_signals

WORKER_VARIABLE = "AUTHCACHE_WORKER"
"""Of a worker's environment: its number within its replica, set by `run_workers`."""


def worker_name(replica: int | None) -> str:
    """This process's value of `harness.domain.served.WORKER_HEADER`.

    Args:
        replica: as `harness.targets.settings.ReplicaSettings.replica`; the host's name stands in.
    """
    place = socket.gethostname() if replica is None else replica
    return f"{place}.{os.environ.get(WORKER_VARIABLE, '0')}"


def replica_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that runs one replica: its sockets, inherited or its own."""
    options = [
        click.option("--listen-fd", type=int, help="Listening socket to inherit."),
        click.option(
            "--metrics-fd", "metrics_fds", type=int, multiple=True, help="One for each worker."
        ),
        click.option("--host", default="127.0.0.1", show_default=True, help="Without --listen-fd."),
        click.option(
            "--port", type=int, default=4000, show_default=True, help="Without --listen-fd."
        ),
        click.option("--metrics-port", type=int, default=9400, show_default=True),
        click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def listen(host: str, port: int) -> int:
    """The descriptor of a new listening socket. Raises OSError."""
    return socket.create_server((host, port), backlog=1024).detach()


def run_workers(command: Sequence[str], listen_fd: int, metrics_fds: Sequence[int]) -> int:
    """Run one worker for each metrics socket; all share the listening one.

    Returns:
        0 if a signal stopped the replica, else the exit code of the worker that ended first; 1 if
        that was 0.
    """
    return asyncio.run(_run(command, listen_fd, metrics_fds))


async def _run(command: Sequence[str], listen_fd: int, metrics_fds: Sequence[int]) -> int:
    default_signals()
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before the first worker starts: a signal in between would leave it running.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    # In our own group, unlike with `start`: ending the replica's group ends the workers too.
    workers = [
        await asyncio.create_subprocess_exec(
            *command,
            *("--listen-fd", str(listen_fd), "--metrics-fd", str(fd)),
            pass_fds=(listen_fd, fd),
            env={**os.environ, WORKER_VARIABLE: str(number)},
        )
        for number, fd in enumerate(metrics_fds)
    ]
    ends = [asyncio.create_task(worker.wait()) for worker in workers]
    stop = asyncio.create_task(asked_to_stop.wait())
    ended, _ = await asyncio.wait([*ends, stop], return_when=asyncio.FIRST_COMPLETED)
    codes = [end.result() for end in ends if end in ended]
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            worker.send_signal(signal.SIGTERM)
    stop.cancel()
    await asyncio.gather(*ends)
    return 0 if asked_to_stop.is_set() else (codes[0] or 1)
