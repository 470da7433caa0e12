"""A `docker` that answers as the variable FAKE_DOCKER says, and writes down what it was asked.

It stands for conditions that a test cannot make on a machine with a healthy Docker, or without any.
"""

import json
import os
import sys
from pathlib import Path

WORDS = sys.argv[1:]
MODE = set(os.environ.get("FAKE_DOCKER", "").split(","))


def answer(code: int, out: str = "", err: str = "") -> None:
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.exit(code)


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
        answer(0)
    case ["compose", *rest] if "up" in rest:
        if "port-taken" in MODE:
            answer(1, "", "Bind for 127.0.0.1:5432 failed: port is already allocated\n")
        answer(0)
    case ["info", *_]:
        answer(0, "2026-01-01T00:00:00Z\n")
    case ["events", *_]:
        for line in os.environ.get("FAKE_EVENTS", "").splitlines():
            sys.stdout.write(f"{line}\n")
        answer(0)
    case ["container", "inspect", *ids]:
        answer(0, os.environ.get("FAKE_CONTAINERS", "[]"))
    case ["ps", *_]:
        answer(0, os.environ.get("FAKE_IDS", ""))
    case ["logs", *_]:
        answer(0, "first line\n", "it went wrong\n")
    case ["network" | "volume", "rm", *_] if "stuck" in MODE:
        answer(1, "", "Error response from daemon: network has active endpoints\n")
    case ["network" | "volume", "ls", *_] if "stuck" in MODE:
        answer(0, "abc\n")
    case _:
        answer(0)
