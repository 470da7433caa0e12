"""Keeps fleets and Locust's web UI up, in processes of their own."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from harness.archive.directory import LOGS
from harness.errors import SetupError
from harness.installation import PACKAGE, shipped
from harness.live.keep import (
    FleetRequest,
    HeldFleets,
    fleets_up,
    hosts_option,
    metrics_option,
)
from harness.live.web_form import form_settings
from harness.plan.plan import RunPlan
from harness.process.loopback import local_http
from harness.process.processes import Command, Process, first_end
from harness.process.sockets import LOOPBACK, free_port
from harness.process.stop import Stop
from harness.process.waiting import wait_until, while_alive
from harness.stack.base import Fleet

_GROUP = "locust"
_READY_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class WebUi:
    """Where the web UI listens, and how many processes drive the load."""

    host: str = LOOPBACK
    port: int = 8089
    locust_workers: int = 0
    """With 0, the process that serves the web UI drives the load."""


Changes = Callable[[RunPlan, Sequence[Fleet]], AbstractAsyncContextManager[str]]
"""Makes changes in fleets while a block runs; yields where it answers."""


async def serve_ui(request: FleetRequest, web: WebUi, changes: Changes) -> None:
    """Start fleets and the web UI, and keep them up until a stop is requested.

    Args:
        request: which fleets, where, until when; the form begins with the scenario's load.
        web: where the web UI listens.
        changes: makes the changes that the tab asks for.

    Raises:
        SetupError: something could not be started; nothing is left running.
        ServerDiedError: a process exited by itself.
    """
    stop, say = request.stop, request.say
    locustfile = shipped("locustfile.py")
    _check_port(web.host, web.port)
    say(f"Starting {len(request.arms)} fleets of {request.scenario.replicas} replicas.")
    async with fleets_up(request, "ui") as kept, changes(kept.plan, kept.fleets) as url_of_changes:
        commands = _commands(locustfile, web, kept, url_of_changes)
        processes = [kept.stack.spawn_sidecar(command) for command in commands]
        try:
            url = f"http://{_bracketed(web.host)}:{web.port}"
            await _until_ready(url, web, processes, stop)
            say(f"Locust's web UI with the tab Auth cache: {url}")
            say(f"Logs: {kept.run_dir / LOGS}. Ctrl-C ends everything.")
            await while_alive(stop.wait(), kept.stack.died, lambda: _first_end(processes))
        finally:
            await kept.stack.stop_sidecars(_GROUP)


def _commands(locustfile: Path, web: WebUi, kept: HeldFleets, changes: str) -> list[Command]:
    environment = _environment(kept) | {"AUTHCACHE_CHANGES": changes}
    locust = (sys.executable, "-m", "locust", "-f", str(locustfile))
    face = ("--web-host", web.host, "--web-port", str(web.port))

    def command(name: str, *options: str) -> Command:
        return Command(
            name=name,
            group=_GROUP,
            argv=(*locust, *options),
            log_file=kept.run_dir / LOGS / f"{name.lower().replace(' ', '-')}.log",
            env=environment,
            # Locust reads its configuration from the folder that it is started in
            cwd=kept.run_dir,
        )

    if not web.locust_workers:
        return [command("Locust", *face)]
    port = str(free_port())
    bind = ("--master-bind-host", LOOPBACK, "--master-bind-port", port)
    return [
        command("Locust master", "--master", *bind, *face),
        *(
            command(
                f"Locust worker {n}", "--worker", "--master-host", LOOPBACK, "--master-port", port
            )
            for n in range(web.locust_workers)
        ),
    ]


def _environment(kept: HeldFleets) -> dict[str, str]:
    return form_settings(kept.plan) | {
        "AUTHCACHE_HOSTS": hosts_option(kept.fleets),
        "AUTHCACHE_METRICS": metrics_option(kept.fleets),
        "AUTHCACHE_KEYS": str(kept.keys_file.resolve()),
        "PYTHONPATH": os.pathsep.join(
            part for part in (str(PACKAGE.parent), os.environ.get("PYTHONPATH")) if part
        ),
    }


async def _until_ready(url: str, web: WebUi, processes: Sequence[Process], stop: Stop) -> None:
    """Wait until the web UI answers and every worker has joined. Raises SetupError."""
    local = url if web.host not in ("0.0.0.0", "::") else f"http://{LOOPBACK}:{web.port}"
    async with local_http(base_url=local, timeout=5.0) as http:

        async def ready() -> bool:
            for process in processes:
                if process.ended():
                    raise SetupError(
                        f"{process.command.name} did not start, {process.exit_report()}"
                    )
            return bool(stop.exit_code) or await _workers(http) >= web.locust_workers

        if not await wait_until(ready, _READY_S, poll_s=_POLL_S):
            raise SetupError(
                f"Locust's web UI was not ready after [{_READY_S:g}] s. Look at its log."
            )


async def _workers(http: httpx.AsyncClient) -> int:
    """How many workers have joined; -1 while it does not answer."""
    try:
        reply = await http.get("/worker-count")
        return int(reply.raise_for_status().json()["worker_count"])
    except (httpx.HTTPError, ValueError, KeyError):
        return -1


async def _first_end(processes: Sequence[Process]) -> str:
    first = await first_end(lambda: processes)
    return (
        f"{first.command.name} exited unexpectedly, {first.exit_report()}\n"
        "Read the whole log, then start again."
    )


def _check_port(host: str, port: int) -> None:
    """Raise SetupError for an address that cannot be listened on."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as plug:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            plug.bind(address)
    except OSError as error:
        raise SetupError(
            f"The web UI cannot listen on [{host}:{port}]: {error.strerror}. "
            "Give another port with --port or PORT."
        ) from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
