"""Waits until the stack's servers, and every replica and every worker of a fleet, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from harness.domain.series import ORIGIN_INFO
from harness.errors import InvalidRunError, SetupError
from harness.process.loopback import local_http
from harness.process.processes import Process
from harness.process.sockets import free_port
from harness.process.waiting import gather_all, wait_until
from harness.targets.base import Origin

_REQUEST_TIMEOUT_S = 5.0
_POLL_S = 0.05
_PORT_TRIES = 5
_PORT_CLASH = "Address already in use"
_PORT_TAKEN = "port taken"


async def wait_until_ready(
    fleet: str, urls: Sequence[tuple[Process, str]], timeout_s: float
) -> None:
    """Ask every address until it answers 200.

    The listening sockets are open before the replicas start, so an early request waits in the
    queue of its socket and is answered at the first moment a worker takes it.

    Args:
        fleet: Its name, for messages.
        urls: Addresses, with the replica that answers each.
        timeout_s: For all of them together.

    Raises:
        SetupError: A replica has ended, or the time is up.
    """
    waiting = list(urls)
    limits = httpx.Limits(max_keepalive_connections=0)

    async def answered(process: Process, url: str) -> None:
        await _ready(client, process, url)
        waiting.remove((process, url))

    async with local_http(timeout=_REQUEST_TIMEOUT_S, limits=limits) as client:
        try:
            async with asyncio.timeout(timeout_s):
                await gather_all(*(answered(process, url) for process, url in urls))
        except TimeoutError as error:
            process, url = waiting[0]
            raise SetupError(
                f"[{len(waiting)}] of [{len(urls)}] addresses of the fleet [{fleet}] did not "
                f"answer within [{timeout_s:g} s]; the first is {url}. "
                f"The {process.command.name}: {process.exit_report()}"
            ) from error


async def check_origins(fleet: str, pages: Sequence[str], origin: Origin) -> None:
    """Check that every worker runs the code that the plan names.

    Args:
        fleet: Its name, for messages.
        pages: Addresses of the workers' metrics.
        origin: What each must report.

    Raises:
        InvalidRunError: One reports nothing, or something else.
    """
    async with local_http(timeout=_REQUEST_TIMEOUT_S) as client:
        replies = await gather_all(
            *(client.get(url, params={"name[]": ORIGIN_INFO}) for url in pages)
        )
    for reply in replies:
        check_origin(fleet, reply.text, origin)


def check_origin(fleet: str, page: str, origin: Origin) -> None:
    """Check one worker's page. Raises InvalidRunError."""
    said = [
        sample.labels
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == ORIGIN_INFO
    ]
    if len(said) != 1:
        raise InvalidRunError(
            f"A worker of [{fleet}] does not report where its code came from. Read its log."
        )
    wanted = {
        "folder": str(Path(origin.folder).resolve()),
        "native": "yes" if origin.native else "no",
        "digest": origin.digest,
    }
    found = {**said[0], "folder": str(Path(said[0]["folder"]).resolve())}
    for what, value in wanted.items():
        if found.get(what) != value:
            raise InvalidRunError(
                f"A worker of [{fleet}] does not run what was planned: its {what} is "
                f"[{found.get(what)}], not [{value}]. Look for what changes the modules that "
                "Python finds, as a sitecustomize or a .pth file, or for a changed snapshot "
                "(harness releases remove --all makes them anew)."
            )


async def _ready(client: httpx.AsyncClient, process: Process, url: str) -> None:
    async def ok() -> bool:
        if process.ended():
            raise SetupError(
                f"The {process.command.name} ended before it was ready, {process.exit_report()}"
            )
        return (await client.get(url)).status_code == httpx.codes.OK

    await wait_until(ok, poll_s=_POLL_S, retry=(httpx.TransportError,))


@dataclass(frozen=True, slots=True)
class Started:
    """A server that answers."""

    process: Process
    port: int
    version: str


async def on_free_port(
    name: str,
    start: Callable[[int], Process],
    version: Callable[[int], Awaitable[str]],
    *,
    retry: tuple[type[Exception], ...],
    timeout_s: float,
    instead: str,
    port: int | None = None,
) -> Started:
    """Start a server on a free port and wait until it answers; on another if that was taken.

    Args:
        name: For messages.
        start: Starts it on a port.
        version: Asks the server on a port for its version; must not hang.
        retry: What `version` raises while the server does not answer.
        timeout_s: For the server to answer.
        instead: The variable that names a server of the user's own.
        port: The only one to try, for a server that was there before.

    Raises:
        SetupError: It does not come up.
    """
    for _ in range(_PORT_TRIES):
        tried = free_port() if port is None else port
        process = start(tried)

        async def asked(process: Process = process, tried: int = tried) -> str:
            if not process.ended():
                return await version(tried)
            process.stopping = True
            if _PORT_CLASH in process.log_text():
                return _PORT_TAKEN
            raise SetupError(f"{name} did not start, {process.exit_report()}")

        try:
            answer = await wait_until(asked, timeout_s, retry=retry)
        except retry as error:
            raise SetupError(
                f"{name} did not answer within [{timeout_s:g} s], {process.exit_report()}"
            ) from error
        if answer != _PORT_TAKEN:
            return Started(process, tried, answer)
    raise SetupError(
        f"{name} found its port taken [{_PORT_TRIES}] times in a row. "
        f"Try again, or give a server of your own as {instead}."
    )
