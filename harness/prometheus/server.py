"""The command line of the harness's own Prometheus, and the wait until it answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.errors import SetupError
from harness.process.processes import Command
from harness.process.waiting import wait_until
from harness.prometheus.api import PrometheusApi
from harness.prometheus.binaries import Binary

GROUP = "prometheus"
CONFIG_FILE = "prometheus.yml"
DATA_FOLDER = "data"
HOST = "127.0.0.1"
FOREVER = "100y"
"""Retention: a run's data must still be there when it is opened a year later."""
_READY_TIMEOUT_S = 60.0


def server_command(
    binary: Binary, folder: Path, port: int, log_file: Path, *, title: str
) -> Command:
    """A Prometheus on loopback, with its configuration and its data in one folder.

    Nothing leaves the machine: no remote write, no alertmanager, no administration by HTTP.
    """
    argv: list[str | Path] = [
        binary.path,
        f"--config.file={folder / CONFIG_FILE}",
        f"--storage.tsdb.path={folder / DATA_FOLDER}",
        f"--storage.tsdb.retention.time={FOREVER}",
        f"--web.listen-address={HOST}:{port}",
        f"--web.page-title={title}",
        "--log.level=warn",
    ]
    if binary.assets is not None:
        argv.append(f"--web.local-assets={binary.assets}/")
    # One core at most: the replicas need the others.
    return Command(
        name="Prometheus server", group=GROUP, argv=argv, log_file=log_file, env={"GOMAXPROCS": "1"}
    )


async def wait_ready(api: PrometheusApi, ended: Callable[[], bool], why: Callable[[], str]) -> None:
    """Wait until it is ready to answer. Raises SetupError with the end of its log."""

    async def ready_or_ended() -> str:
        return "ready" if await api.ready() else "ended" if ended() else ""

    if await wait_until(ready_or_ended, _READY_TIMEOUT_S) != "ready":
        raise SetupError(f"Prometheus does not come up, {why()}.")
