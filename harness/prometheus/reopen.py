"""Opens a Prometheus on the data of a run that is over.

Prometheus has no read-only mode: it locks its folder, replays the write-ahead log into new files
and compacts. A run's data must stay as they were recorded, so it gets a copy, which is deleted when
it exits. Runs of minutes are some megabytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from harness.domain.series import READS
from harness.errors import SetupError, UsageError
from harness.process import groups
from harness.process.guard_link import GuardLink
from harness.process.loopback import local_http
from harness.process.processes import Process, Processes
from harness.process.sockets import free_port
from harness.process.waiting import wait_until
from harness.prometheus.api import TIMEOUT_S, PrometheusApi
from harness.prometheus.binaries import PROMETHEUS, VARIABLES, Binary, find
from harness.prometheus.configuration import silent_configuration
from harness.prometheus.recorder import data_folder, has_data
from harness.prometheus.server import (
    CONFIG_FILE,
    DATA_FOLDER,
    HOST,
    server_command,
    wait_ready,
)

_FIRST_LOOK = f"sum by (variant) (rate({READS}[4s]))"
_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A Prometheus on old data."""

    api: PrometheusApi
    start: float
    """Unix time of the first sample."""
    end: float
    """Unix time of the last sample."""
    process: Process

    @property
    def look(self) -> str:
        """URL of a graph of the source reads of the whole run."""
        query = {
            "g0.expr": _FIRST_LOOK,
            "g0.tab": "0",
            "g0.range_input": f"{max(1, round(self.end - self.start))}s",
            "g0.end_input": _text(self.end),
        }
        return f"{self.api.url}/graph?{urlencode(query)}"

    async def died(self) -> str:
        """Wait until it exits by itself; returns a message with its last log lines."""
        await wait_until(self.process.ended)
        return f"Prometheus exited unexpectedly, {self.process.exit_report()}"


def required_binary() -> Binary:
    """A Prometheus. Raises SetupError where there is none."""
    found = find(PROMETHEUS)
    if found is None:
        raise SetupError(
            f"There is no Prometheus here. Put it on PATH, name it in {VARIABLES[PROMETHEUS]}, or "
            "let `harness prometheus --fetch` unpack Debian's package."
        )
    return found


@contextlib.asynccontextmanager
async def reopened(run_dir: Path, port: int | None = None) -> AsyncIterator[Opened]:
    """A Prometheus on a copy of a run's data, until the block ends.

    Raises:
        UsageError: the run was not recorded.
        SetupError: there is no Prometheus, or it does not come up.
    """
    if not has_data(run_dir):
        raise UsageError(
            f"The run [{run_dir.name}] was not recorded by Prometheus. Runs are recorded when "
            "prometheus is on PATH, or with --prometheus on."
        )
    binary = required_binary()
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="authcache-prometheus-") as name:
        folder = Path(name)
        guard = GuardLink(token, folder / "guard.log")
        guard.folder(folder)
        processes = Processes(token, guard)
        try:
            await asyncio.to_thread(shutil.copytree, data_folder(run_dir), folder / DATA_FOLDER)
            (folder / CONFIG_FILE).write_text(silent_configuration(), encoding="utf-8")
            chosen = free_port() if port is None else port
            log_file = folder / "prometheus.log"
            process = processes.spawn(
                server_command(binary, folder, chosen, log_file, title=f"Run {run_dir.name}")
            )
            async with local_http(timeout=TIMEOUT_S) as http:
                api = PrometheusApi(f"http://{HOST}:{chosen}", http)
                await wait_ready(api, process.ended, process.exit_report)
                start, end = await _extent(api, folder / DATA_FOLDER)
                yield Opened(api, start, end, process)
        finally:
            await groups.to_the_end(_ended(processes, guard))


async def _ended(processes: Processes, guard: GuardLink) -> None:
    await processes.stop("", _GRACE_S)
    await asyncio.to_thread(guard.done)


async def _extent(api: PrometheusApi, data: Path) -> tuple[float, float]:
    """Unix times of the first and the last sample. Raises UsageError where there is none."""
    head = await api.head()
    extents = await asyncio.to_thread(_blocks, data)
    if head is not None:
        extents.append(head)
    if not extents:
        raise UsageError("Prometheus recorded no sample in this run. Read logs/prometheus.log.")
    return min(start for start, _ in extents), max(end for _, end in extents)


def _blocks(data: Path) -> list[tuple[float, float]]:
    """The same for each block; a run of hours has some."""
    blocks = [json.loads(file.read_text(encoding="utf-8")) for file in data.glob("*/meta.json")]
    return [(block["minTime"] / 1000, block["maxTime"] / 1000) for block in blocks]


def _text(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"
