"""Fixtures of the load tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.domain.population import MOCK_MODEL, VirtualKey, make_population, write_keys
from harness.domain.window import WindowCommand
from harness.load.client import LoadDriver

MIX = {"team": 1.0, "user": 1.0, "shared_id": 1.0, "member": 1.0}


@pytest.fixture
def keys() -> list[VirtualKey]:
    return make_population(dict.fromkeys(MIX, 2), {}, seed=1, model=MOCK_MODEL)


@pytest.fixture
def keys_file(tmp_path: Path, keys: list[VirtualKey]) -> Path:
    path = tmp_path / "keys.json"
    write_keys(path, keys)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LoadDriver]:
    one = LoadDriver(tmp_path_factory.mktemp("driver") / "driver.log")
    await one.start()
    yield one
    await one.close()


@pytest.fixture
def window(tmp_path: Path, keys_file: Path) -> Callable[..., WindowCommand]:
    """Makes a command; whatever is not given is a short open load on all scopes."""

    def make(hosts: list[str], **changes: Any) -> WindowCommand:
        settings: dict[str, Any] = {
            "window": "w",
            "hosts": hosts,
            "keys_file": str(keys_file),
            "model": "open",
            "duration_s": 0.5,
            "mix": MIX,
            "users": 16,
            "rate_per_s": 200.0 if changes.get("model", "open") == "open" else 0.0,
            "seed": 7,
            # a machine with much else to do must not change what is sent
            "late_ms": 10_000.0,
            "samples_file": str(tmp_path / "samples.csv.gz"),
        }
        return WindowCommand(**{**settings, **changes})

    return make
