"""Waits until started services answer; fails early when one of them ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import httpx

from harness.domain.series import CHAT_ROUTE, PENDING
from harness.errors import SetupError
from harness.process.loopback import local_http
from harness.process.waiting import gather_all, wait_until
from harness.stack.base import WorkerAddress
from harness.stack.compose import balancer
from harness.stack.compose.containers import containers, exit_report
from harness.stack.compose.fleet import FleetPlace
from harness.stack.compose.project import Project
from harness.stack.databases import Databases

T = TypeVar("T")
READY_S = 120.0
_LOOK_S = 1.0
_POLL_S = 0.2


async def while_running(
    project: Project, services: Sequence[str], work: Coroutine[Any, Any, T]
) -> T:
    """Run `work`, unless a container that it needs ends. Raises SetupError."""
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOK_S)
            if done:
                return await task
            for one in await containers(project.docker, project.name):
                if one.service in services and not one.running:
                    text = await exit_report(project.docker, one)
                    raise SetupError(f"The container [{one.name}] ended, {text}")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answered(project: Project, name: str, services: Sequence[str], url: str) -> None:
    """Wait until a page answers 200.

    Args:
        project: that the services belong to.
        name: for messages.
        services: that it needs; if one ends, the wait fails.
        url: on 127.0.0.1.

    Raises:
        SetupError: it does not answer, or a container ended.
    """
    async with local_http(timeout=10.0) as http:
        there = await while_running(project, services, _answers(http, url))
    if not there:
        raise SetupError(
            f"{name} does not answer at [{url}] after [{READY_S:g} s]. Look at its log."
        )


async def joined(project: Project, services: Sequence[str], url: str, workers: int) -> None:
    """Wait until Locust's master has this number of workers.

    Args:
        project: that the services belong to.
        services: master and workers; if one ends, the wait fails.
        url: base URL of the web UI.
        workers: how many.

    Raises:
        SetupError: they do not join, do not leave, or a container ended.
    """
    counted = 0

    async def all_counted() -> bool:
        nonlocal counted
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
            reply = (await http.get("/worker-count")).raise_for_status()
            counted = int(reply.json()["worker_count"])
        return counted == workers

    async with local_http(base_url=url, timeout=10.0) as http:
        counting = wait_until(all_counted, READY_S, poll_s=_POLL_S)
        if not await while_running(project, services, counting):
            raise SetupError(
                f"Locust counts [{counted}] workers and should count [{workers}], after "
                f"[{READY_S:g} s]. Look at the log of locust-worker."
            )


async def first_answer(databases: Databases) -> dict[str, str]:
    """The facts of `Databases.check`, as soon as Postgres answers. Raises SetupError."""
    return await wait_until(databases.check, READY_S, poll_s=_POLL_S, retry=(SetupError,))


async def fleet_ready(place: FleetPlace, exporter: str) -> tuple[WorkerAddress, ...]:
    """Wait for a fleet's load balancer and its workers; returns where each is scraped.

    Args:
        place: the fleet.
        exporter: base URL, through which the workers are reached.

    Raises:
        SetupError: not all of them answer in time.
    """
    await balanced(place)
    workers = await _workers(place, exporter)
    await _first_requests(place)
    return workers


async def balanced(place: FleetPlace) -> None:
    """Wait until HAProxy has every replica up and knows no other. Raises SetupError."""
    stats = place.stats_url
    wanted = place.spec.replicas
    async with local_http(timeout=5.0) as http:
        up = await balancer.wait_for(http, stats, wanted, READY_S)
    if up != wanted:
        raise SetupError(
            f"HAProxy of the fleet [{place.spec.name}] sees [{up}] replicas up and should see "
            f"[{wanted}], after [{READY_S:g} s]. Look at {stats} and at the replicas' logs."
        )


async def _first_requests(place: FleetPlace) -> None:
    """Send each replica a request with an unknown key.

    The first request of a worker opens connections and loads code. On a busy machine that takes
    longer than a lookup in Redis may, and would count as an error of Redis in the first window.
    """
    url = f"{place.url}{CHAT_ROUTE}"
    body = {"model": "none", "messages": [{"role": "user", "content": "ping"}]}
    headers = {"Authorization": "Bearer sk-nobody-has-this-key"}
    times = 2 * place.spec.replicas * place.spec.workers
    async with local_http(timeout=30.0) as http:
        for _ in range(times):
            # Any answer will do: the load shows whether replicas work.
            with contextlib.suppress(httpx.TransportError):
                await http.post(url, json=body, headers=headers)


async def _workers(place: FleetPlace, exporter: str) -> tuple[WorkerAddress, ...]:
    wanted = place.spec.replicas * place.spec.workers
    found: Sequence[dict[str, object]] = ()

    async def all_listed() -> bool:
        nonlocal found
        found = await _listed(http, exporter, place.spec.name)
        return len(found) == wanted

    async with local_http(timeout=10.0) as http:
        if not await wait_until(all_listed, READY_S, poll_s=_POLL_S):
            raise SetupError(
                f"The exporter shows [{len(found)}] workers of the fleet [{place.spec.name}] "
                f"and should show [{wanted}], after [{READY_S:g} s]. Look at its log."
            )
        workers = tuple(
            WorkerAddress(
                int(str(row["replica"])), int(str(row["worker"])), f"{exporter}{row['path']}"
            )
            for row in found
        )
        pages = [f"{one.metrics_url}?name[]={PENDING}" for one in workers]
        answers = await gather_all(*(_answers(http, page) for page in pages))
    if not all(answers):
        raise SetupError(
            f"[{answers.count(False)}] of [{wanted}] workers of the fleet [{place.spec.name}] do "
            f"not answer through the exporter, after [{READY_S:g} s]. Look at its log."
        )
    return workers


async def _listed(
    http: httpx.AsyncClient, exporter: str, fleet: str
) -> Sequence[dict[str, object]]:
    """Workers that the exporter knows; none while it starts."""
    try:
        reply = (await http.get(f"{exporter}/workers")).raise_for_status()
    except httpx.HTTPError:
        return ()
    rows: Sequence[dict[str, object]] = reply.json()["fleets"].get(fleet, ())
    return rows


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    """Whether a page answers 200 within `READY_S`."""

    async def ok() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await http.get(url)).status_code == httpx.codes.OK
        return False

    return await wait_until(ok, READY_S, poll_s=_POLL_S)
