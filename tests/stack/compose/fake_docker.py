"""A `docker` that answers as the variable FAKE_DOCKER says, and writes down what it was asked.

It stands for conditions that a test cannot make on a machine with a healthy Docker, or without any.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Starts are many: what only a checker of types needs is not imported, nor the site's packages.
    from typing import Any

    Row = dict[str, Any]

WORDS = sys.argv[1:]
MODE = set(os.environ.get("FAKE_DOCKER", "").split(","))


def answer(code: int, out: str = "", err: str = "") -> None:
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.exit(code)


KEPT = Path(os.environ["FAKE_CONTAINERS_FILE"]) if "FAKE_CONTAINERS_FILE" in os.environ else None


def kept() -> list[Row]:
    """The containers that there are."""
    assert KEPT is not None
    rows: list[Row] = json.loads(KEPT.read_text())
    return rows


def keep(rows: list[Row]) -> None:
    assert KEPT is not None
    KEPT.write_text(json.dumps(rows))


def up(words: list[str]) -> None:
    """What Compose does with the containers of services: start, create, remove."""
    files = [Path(words[i + 1]) for i, word in enumerate(words) if word == "-f"]
    generated = [json.loads(file.read_text()) for file in files if file.suffix == ".json"]
    scales = {
        name: one.get("scale", 1) for file in generated for name, one in file["services"].items()
    }
    scales["locust-worker"] = int(os.environ.get("LOCUST_WORKERS", "2"))
    rows = kept()
    for service in [word for word in words[words.index("up") + 1 :] if not word.startswith("-")]:
        ours = sorted(
            (row for row in rows if row["service"] == service), key=lambda row: row["number"]
        )
        rows = [row for row in rows if row["service"] != service]
        if "up-removes-one-and-fails" in MODE and len(ours) > scales.get(service, 1):
            keep(rows + ours[:-1])
            answer(1, "", "it went wrong\n")
        free = [n for n in range(1, 99) if n not in {row["number"] for row in ours}]
        ours += [
            {"service": service, "number": free[i]}
            for i in range(scales.get(service, 1) - len(ours))
        ]
        rows += [{**row, "running": True} for row in ours[: scales.get(service, 1)]]
    keep(rows)


def set_running(container: str, *, running: bool) -> None:
    """A container ends, or starts again."""
    keep([{**row, "running": running} if name(row) == container else row for row in kept()])


def name(row: Row) -> str:
    return f"{row['service']}-{row['number']}"


def inspected(row: Row) -> Row:
    prefix = "com.docker.compose"
    labels = {f"{prefix}.service": row["service"], f"{prefix}.container-number": str(row["number"])}
    state = {"Pid": 0, "Running": row["running"], "ExitCode": 0 if row["running"] else 137}
    return {"Id": name(row), "Name": f"/{name(row)}", "Config": {"Labels": labels}, "State": state}


with Path(os.environ["FAKE_DOCKER_CALLS"]).open("a", encoding="utf-8") as calls:
    calls.write(json.dumps(WORDS) + "\n")

match WORDS:
    case ["version", *_]:
        if "no-daemon" in MODE:
            answer(1, "", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")
        answer(0, "20.10.24\n")
    case ["compose", "version", *_]:
        if "no-compose" in MODE:
            answer(1, "", "docker: 'compose' is not a docker command.\n")
        answer(0, "1.29.2\n" if "old-compose" in MODE else "v2.26.1-4\n")
    case ["image", "inspect", *_, image]:
        wanted = os.environ.get("FAKE_MISSING", "")
        answer(1 if image == wanted else 0, "sha256:1\n", "No such image\n")
    case ["pull", *_]:
        answer(1, "", "Error response from daemon: pull access denied.\n")
    case ["compose", *rest] if "build" in rest:
        if "no-build" in MODE:
            answer(17, "", "failed to solve: no space left on device\n")
        if "FAKE_CONTEXT" in os.environ:
            # The harness removes it with the stack.
            shutil.copytree(Path(os.environ["GENERATED"]) / "image", os.environ["FAKE_CONTEXT"])
        answer(0)
    case ["compose", *rest] if "up" in rest:
        if "port-taken" in MODE:
            answer(1, "", "Bind for 127.0.0.1:5432 failed: port is already allocated\n")
        if "up-hangs" in MODE:
            time.sleep(600)
        if KEPT and "up-does-nothing" not in MODE:
            up(WORDS)
        answer(0)
    case ["info", *_]:
        answer(0, "2026-01-01T00:00:00Z\n")
    case ["events", *_]:
        for line in os.environ.get("FAKE_EVENTS", "").splitlines():
            sys.stdout.write(f"{line}\n")
        answer(0)
    case ["container", "inspect", *ids] if KEPT:
        answer(0, json.dumps([inspected(row) for row in kept()]))
    case ["container", "inspect", *ids]:
        answer(0, os.environ.get("FAKE_CONTAINERS", "[]"))
    case ["ps", *_, form] if "project" in form and "{{" in form:
        answer(0, os.environ.get("FAKE_PROJECTS", ""))
    case ["ps", *_] if KEPT:
        answer(0, "".join(f"{inspected(row)['Id']}\n" for row in kept()))
    case ["ps", *_]:
        answer(0, os.environ.get("FAKE_IDS", ""))
    case ["kill", *_, container] if KEPT:
        set_running(container, running=False)
        answer(0)
    case ["start", container] if KEPT:
        set_running(container, running=True)
        answer(0)
    case ["logs", *_]:
        answer(0, "first line\n", "it went wrong\n")
    case ["network" | "volume", "rm", *_] if "stuck" in MODE:
        answer(1, "", "Error response from daemon: network has active endpoints\n")
    case ["network" | "volume", "ls", *_] if "stuck" in MODE:
        answer(0, "abc\n")
    case _:
        answer(0)
