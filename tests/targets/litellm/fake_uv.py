"""Stands in for uv: makes the folders that uv makes, without an index; told what to do by files.

Run by a script that `FakeUv` makes; it says in `calls`, beside that, what it was asked for.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from pathlib import Path

METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"


class FakeUv:
    """The test's side of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "uv"
        # Imported, so that it is compiled once and not at each start.
        found_in = f"import sys; sys.path.append({str(Path(__file__).parent)!r})"
        run = f"import fake_uv; fake_uv.run({str(folder)!r}, sys.argv[1:])"
        self.path.write_text(f"#!{sys.executable} -IS\n{found_in}\n{run}\n")
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self.orders = folder / "orders.json"
        self.calls_file = folder / "calls"
        self.pid_file = folder / "pid"

    def will(self, **orders: str | dict[str, str]) -> None:
        """Fail with a text (`fail`), hang (`hang`), or install other versions (`instead`)."""
        self.orders.write_text(json.dumps(orders))

    def calls(self) -> list[str]:
        """What it was asked for, in order: the first word, or two."""
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


def run(folder: str, arguments: list[str]) -> None:
    """One call, with the files of a folder."""
    here = Path(folder)
    what = arguments[0] if arguments[0] == "venv" else " ".join(arguments[:2])
    with (here / "calls").open("a") as calls:
        calls.write(f"{what}\n")
    orders = (
        json.loads((here / "orders.json").read_text()) if (here / "orders.json").exists() else {}
    )
    if what == "venv":
        _venv(Path(arguments[-1]))
    elif what == "pip compile":
        output = Path(arguments[arguments.index("--output-file") + 1])
        output.write_text(orders.get("resolved", ""))
    if what == orders.get("hang"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (here / "pid").write_text(str(os.getpid()))
        # Whatever becomes of the test, it ends.
        signal.alarm(120)
        signal.pause()
    if what == orders.get("fail_at", "pip install") and "fail" in orders:
        sys.exit(orders["fail"])
    if what == "pip install":
        python = Path(arguments[arguments.index("--python") + 1])
        _install(python.parents[1], Path(arguments[-1]), orders.get("instead", {}))


def _venv(folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "lib" / "python3.0" / "site-packages").mkdir(parents=True)


def _install(folder: Path, pins: Path, instead: dict[str, str]) -> None:
    site = folder / "lib" / "python3.0" / "site-packages"
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", pins.read_text(), re.MULTILINE):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        text = METADATA.format(name, instead.get(name, version))
        if name == "litellm":
            (site / name).mkdir()
            text += "".join(
                f"Requires-Dist: {one}\n" for one in instead.get("asks", "").split("|") if one
            )
        (info / "METADATA").write_text(text)
