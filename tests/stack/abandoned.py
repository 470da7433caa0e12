"""Opens a stack with one fleet, says what exists, and waits to be killed."""

import asyncio
import json
import sys
from pathlib import Path

from harness.stack.embedded import EmbeddedStack
from tests.stack.fakes import FakeTarget, descendants, spec


async def main() -> None:
    stack = EmbeddedStack(Path(sys.argv[1]) / "logs")
    await stack.open()
    await stack.start(spec("abandoned", FakeTarget("stray"), workers=2))
    assert stack._guard is not None
    about = {
        "pids": sorted(descendants()),
        "guard": stack._guard._process.pid,
        "folder": str(stack._folder),
    }
    sys.stdout.write(f"{json.dumps(about)}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(main())
