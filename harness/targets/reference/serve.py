"""Runs one replica: `python -m harness.targets.reference.serve`.

A replica has one listening socket, and for each worker a socket on which that worker alone answers,
so that every worker can be scraped by itself. With one worker this process is the worker; with more
it supervises them: when the first worker ends, it stops the others and ends too.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

import click
import uvicorn
from pydantic import ValidationError

from harness.targets import clock

# The modules below take time.time by name.
clock.install()

from harness.errors import UsageError, explain  # noqa: E402
from harness.targets.reference.app import App  # noqa: E402
from harness.targets.reference.server import server_config  # noqa: E402
from harness.targets.reference.settings import ProxySettings  # noqa: E402
from harness.targets.reference.worker import Worker, open_worker  # noqa: E402
from harness.targets.settings import MASTER_KEY_VARIABLE, SETTINGS_VARIABLE  # noqa: E402
from harness.targets.workers import listen, replica_options, run_workers  # noqa: E402

COLLECTOR_THRESHOLDS = (50_000, 20, 50)
"""Objects, and runs of the younger generation, between two runs of the collector."""


def read_settings() -> ProxySettings:
    """Settings from the environment. Raises UsageError."""
    text = os.environ.get(SETTINGS_VARIABLE)
    if text is None:
        raise UsageError(f"The variable [{SETTINGS_VARIABLE}] is not set. It holds the settings.")
    try:
        settings = ProxySettings.decode(text)
    except ValueError as error:
        why = explain(error) if isinstance(error, ValidationError) else f"{error}."
        raise UsageError(f"[{SETTINGS_VARIABLE}] is not valid. {why}") from error
    return replace(settings, master_key=os.environ.get(MASTER_KEY_VARIABLE, ""))


def run_worker(settings: ProxySettings, sockets: Sequence[socket.socket]) -> None:
    """Serve on sockets that are listening already, until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # The format shows none of these, so records need not collect them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as the logging HOWTO says, under Optimization
    server = uvicorn.Server(server_config(App(lambda: _open(settings))))
    server.run(sockets=list(sockets))
    if not server.started:
        sys.exit(3)


async def _open(settings: ProxySettings) -> Worker:
    worker = await open_worker(settings)
    # Cached objects stay, and the collector would walk through all of them again and again: a sixth
    # of the CPU of a request that fills the cache. Objects that exist by now are never garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    return worker


@click.command()
@replica_options
def main(
    listen_fd: int | None,
    metrics_fds: tuple[int, ...],
    host: str,
    port: int,
    metrics_port: int,
    workers: int,
) -> None:
    """Run one replica. Its settings are JSON in AUTHCACHE_PROXY_SETTINGS."""
    try:
        settings = read_settings()
        if listen_fd is None:
            listen_fd = _listen(host, port)
            metrics_fds = tuple(_listen(host, metrics_port + i) for i in range(workers))
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    if len(metrics_fds) > 1:
        command = [sys.executable, "-m", "harness.targets.reference.serve"]
        sys.exit(run_workers(command, listen_fd, metrics_fds))
    sockets = [socket.socket(fileno=fd) for fd in (listen_fd, *metrics_fds)]
    run_worker(settings, sockets)


def _listen(host: str, port: int) -> int:
    try:
        return listen(host, port)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on [{host}:{port}]: {error.strerror}. Name a free port."
        ) from error


if __name__ == "__main__":
    main()
