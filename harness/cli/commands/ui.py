"""The command `ui`: fleets with Locust's web UI in front of them."""

from __future__ import annotations

from typing import Any

from harness.cli.commands.options import RunOptions
from harness.cli.commands.running import keep_until_ctrl_c
from harness.experiment.by_hand import live_changes
from harness.live.web import WebUi, serve_ui


def ui(*, port: int, host: str, locust_workers: int, **chosen: Any) -> None:
    """Start fleets and Locust's web UI with the tab "Auth cache", until Ctrl-C."""
    web = WebUi(host, port, locust_workers)
    keep_until_ctrl_c(RunOptions(**chosen), lambda request: serve_ui(request, web, live_changes))
