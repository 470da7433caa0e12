"""Runs of the `harness` command as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 120.0

TINY = """
name = "tiny"
title = "As short as a run can be"
replicas = 1
ttl_s = 1.0
rounds = 1
variants = ["recommended"]

[population]
team = 1
user = 1

[load]
rate_per_s = 80
users = 32
mix = { team = 1, user = 1 }
cold_fill = false
warmup_ttls = 0
window_ttls = WINDOW

[limits]
bad_share_max = 0.05
late_ms = 10000
late_median_ms = 10000

[[expect]]
kind = "cell"
variant = "recommended"
scope = "user"
is = "healthy"
"""


def tiny_scenario(folder: Path, window_ttls: int = 3) -> Path:
    """A scenario file whose window lasts ``window_ttls`` seconds."""
    path = folder / "tiny.toml"
    path.write_text(TINY.replace("WINDOW", str(window_ttls)), encoding="utf-8")
    return path


EVEN = "{ team = 1, user = 1, shared_id = 1, member = 1 }"
"""A mix in which no scope gets more requests than it needs: so the rate can be lower."""


def unhurried(name: str, folder: Path, **replaced: str) -> Path:
    """A built-in scenario in which no request counts as late: for tests beside other tests.

    Args:
        name: of the scenario.
        folder: where its file is written.
        replaced: lines of the file, by the field that each begins with.
    """
    text = (files("harness.scenario.builtin") / f"{name}.toml").read_text(encoding="utf-8")
    assert text.count("[limits]") == 1
    text = text.replace("[limits]", "[limits]\nlate_ms = 10000\nlate_median_ms = 10000")
    for field, value in replaced.items():
        text, times = re.subn(rf"(?m)^{field} = .*$", f"{field} = {value}", text)
        assert times, f"no line of the scenario begins with {field}"
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    output: str
    runs_dir: Path

    @property
    def result(self) -> dict[str, Any]:
        """``result.json`` of the newest run."""
        loaded: dict[str, Any] = json.loads((self.runs_dir / "latest" / "result.json").read_text())
        return loaded


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", *arguments]


def harness(runs_dir: Path, *arguments: str, **extra: str) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=os.environ | extra,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(done.returncode, done.stdout + done.stderr, runs_dir)


class Running:
    """A command under way, with a view of the processes it has started."""

    def __init__(self, process: subprocess.Popen[str], runs_dir: Path, temp: Path) -> None:
        self.process = process
        self.runs_dir = runs_dir
        self.temp = temp
        self.seen: dict[int, psutil.Process] = {}

    def children(self) -> list[psutil.Process]:
        """Everything below the command that is alive now; remembered for `leftovers`."""
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        for child in found:
            self.seen[child.pid] = child
        return found

    def find(self, text: str) -> list[psutil.Process]:
        """Children whose command line contains a text."""
        matching = []
        for child in self.children():
            try:
                if text in " ".join(child.cmdline()):
                    matching.append(child)
            except psutil.Error:
                continue
        return matching

    def wait_for(self, what: str, ready: Callable[[], Any]) -> Any:
        """Wait until something is true, and return it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            value = ready()
            if value:
                return value
            if self.process.poll() is not None:
                raise AssertionError(f"ended while waiting for {what}: {self.output()}")
            time.sleep(0.05)
        raise AssertionError(f"no {what} after {PATIENCE_S} s")

    def under_load(self) -> None:
        """Wait until a window is being driven: its samples file is there."""
        self.wait_for("a window", lambda: list(self.runs_dir.glob("*/samples/*")))
        self.children()

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            # What it printed says where it was when it should have ended.
            raise AssertionError(f"not ended after {PATIENCE_S} s: {self.output()}") from None

    def output(self) -> str:
        return (self.runs_dir / "output.txt").read_text()

    def leftovers(self) -> list[str]:
        """Processes that it started and that still run, and folders it left."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            alive = [p for p in self.seen.values() if p.is_running() and _not_zombie(p)]
            folders = list(self.temp.iterdir())
            if not alive and not folders:
                return []
            time.sleep(0.1)
        return [str(p) for p in alive] + [str(f) for f in folders]


def _not_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def started(tmp_path: Path, *arguments: str, **extra: str) -> Iterator[Running]:
    """Start a command; it is killed with all its children if the test gives up on it."""
    runs_dir, temp = tmp_path / "runs", tmp_path / "temp"
    runs_dir.mkdir()
    temp.mkdir()
    temp.chmod(0o777)
    with (runs_dir / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command(*arguments, "--runs-dir", str(runs_dir)),
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(temp), **extra},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    running = Running(process, runs_dir, temp)
    try:
        yield running
    finally:
        running.children()
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for child in running.seen.values():
            if child.is_running() and _not_zombie(child):
                child.kill()
