"""Runs Prometheus as a sidecar of a run, to record its series for later."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol

from harness.errors import SetupError
from harness.process.loopback import local_http
from harness.process.processes import Command, Process
from harness.process.sockets import free_port
from harness.process.waiting import wait_until
from harness.prometheus.api import TIMEOUT_S, PrometheusApi
from harness.prometheus.binaries import Binary
from harness.prometheus.configuration import SCRAPE_S, WORKERS_JOB, ScrapedWorker, configuration
from harness.prometheus.server import (
    CONFIG_FILE,
    DATA_FOLDER,
    GROUP,
    HOST,
    server_command,
    wait_ready,
)

FOLDER = "prometheus"
"""In the run directory."""
RULES_FILE = "rules.yml"
UNFINISHED = "Prometheus has not scraped all targets after the run; its data may lack the end."
"""Noted if the last scrape did not come in time."""
_FIRST_SCRAPE_TIMEOUT_S = 20.0
_LAST_SCRAPE_TIMEOUT_S = 20.0
_POLL_S = 0.1


def data_folder(run_dir: Path) -> Path:
    """Where a run's data are, if it was recorded."""
    return run_dir / FOLDER / DATA_FOLDER


def has_data(run_dir: Path) -> bool:
    """Whether a run was recorded."""
    return data_folder(run_dir).is_dir()


class Host(Protocol):
    """Starts and stops the sidecars of a run."""

    def spawn_sidecar(self, command: Command) -> Process:
        """Start a sidecar; its exit does not end the run. Raises SetupError."""

    async def stop_sidecars(self, group: str) -> None:
        """Stop the sidecars of a group."""


@contextlib.asynccontextmanager
async def recording(
    binary: Binary,
    host: Host,
    run_dir: Path,
    workers: Sequence[ScrapedWorker],
    exporter: str,
    *,
    log_file: Path,
    rules: Path | None,
    note: Callable[[str], None],
) -> AsyncIterator[PrometheusApi]:
    """Record into ``prometheus/`` of the run directory until the block ends.

    The block begins when every worker was scraped once, so that counters are recorded at 0, and its
    end waits for one more scrape. Both waits have a timeout, and a scrape that is missing is noted.

    Args:
        binary: the Prometheus.
        host: starts and stops the process, watched by the guard.
        run_dir: of the run.
        workers: the workers to scrape.
        exporter: host and port of the harness's exporter.
        log_file: where the process writes.
        rules: a file of rules; a copy is kept with the data.
        note: called with what went wrong; none of it ends the run.

    Raises:
        SetupError: Prometheus does not come up.
    """
    folder = run_dir / FOLDER
    folder.mkdir()
    if rules is not None:
        shutil.copyfile(rules, folder / RULES_FILE)
    names = [] if rules is None else [RULES_FILE]
    text = configuration(workers, exporter, rule_files=names)
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    port = free_port()
    process = host.spawn_sidecar(
        server_command(binary, folder, port, log_file, title=f"Run {run_dir.name}")
    )
    try:
        async with local_http(timeout=TIMEOUT_S) as http:
            api = PrometheusApi(f"http://{HOST}:{port}", http)
            await wait_ready(api, process.ended, process.exit_report)
            await _scraped(api, len(workers), note)
            yield api
            scraped = await _scraped_again(api)
            if process.ended():
                note(f"Prometheus ended before the run did, {process.exit_report()}")
            elif not scraped:
                note(UNFINISHED)
    finally:
        await host.stop_sidecars(GROUP)


async def _scraped(api: PrometheusApi, workers: int, note: Callable[[str], None]) -> None:
    if not await _holds(
        api, f'count(up{{job="{WORKERS_JOB}"}} == 1) == {workers}', _FIRST_SCRAPE_TIMEOUT_S
    ):
        note("Prometheus has not scraped every worker yet; its data begin later than the run.")


async def _scraped_again(api: PrometheusApi) -> bool:
    return await _holds(api, scraped_after(time.time() + SCRAPE_S / 2), _LAST_SCRAPE_TIMEOUT_S)


def scraped_after(moment: float) -> str:
    """A query that has an answer once the newest scrape of every target began later and succeeded.

    A scrape that failed has a timestamp too, and ends the target's series.
    """
    return f"count(timestamp(up) > {moment:.3f} and up == 1) == count(up)"


async def _holds(api: PrometheusApi, expr: str, timeout_s: float) -> bool:
    """Ask until the answer is not empty; False on a timeout or without an answer."""
    try:
        return bool(await wait_until(lambda: api.query(expr), timeout_s, poll_s=_POLL_S))
    except SetupError:
        return False
