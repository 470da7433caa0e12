from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from harness.stack.embedded import EmbeddedStack

# A shared machine may stop a test for longer than any example should take.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[EmbeddedStack]:
    """An open stack with servers of its own."""
    opened = EmbeddedStack(tmp_path / "run" / "logs")
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()
