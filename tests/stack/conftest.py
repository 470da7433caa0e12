from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.stack.embedded import EmbeddedStack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[EmbeddedStack]:
    """An open stack with servers of its own."""
    opened = EmbeddedStack(tmp_path / "run" / "logs")
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()
