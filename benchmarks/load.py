"""The harness's side of the benchmark's load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import harness
from benchmarks.client import READY, Job, Shot
from benchmarks.machine import pin
from harness.errors import InvalidRunError
from harness.process import groups

_TIMEOUT_S = 120.0
_PACKAGE = str(Path(harness.__file__).resolve().parents[1])

Fire = Callable[[], Awaitable[Shot]]


@contextlib.asynccontextmanager
async def aim(job: Job, core: int | None) -> AsyncIterator[Fire]:
    """A client that has connected; calling the yielded function sends its requests.

    In between nothing happens, so that the caller can read the clocks.

    Args:
        job: what to send.
        core: where the client may run; None means anywhere.

    Raises:
        InvalidRunError: the client could not connect, or got anything but 200.
    """
    process = await groups.start(
        *(sys.executable, "-m", "benchmarks.client"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": _PACKAGE},
    )

    async def fire() -> Shot:
        return Shot(**json.loads(await _ask(process, "go")))

    try:
        pin([process.pid], core)
        answer = await _ask(process, json.dumps(asdict(job)))
        assert answer == READY, answer
        yield fire
        await process.wait()
    finally:
        if process.returncode is None:
            await groups.end(process, 0)


async def _ask(process: asyncio.subprocess.Process, line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
            answer = await process.stdout.readline()
            if not answer:
                words = (await process.stderr.read()).decode(errors="replace").strip()
                raise InvalidRunError(
                    f"The load of the benchmark ended early [{words.splitlines()[-1:]}]. "
                    "Look at the servers, then run again."
                )
    except (TimeoutError, ConnectionError) as error:
        raise InvalidRunError(
            f"The load of the benchmark gave no answer within [{_TIMEOUT_S:g} s]. "
            "Run again, on a machine with less to do."
        ) from error
    return answer.decode().strip()
