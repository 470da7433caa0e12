from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.targets.litellm import install, pins, resolve, uv
from harness.targets.litellm.releases import Release
from tests.targets.litellm.fake_uv import FakeUv

HASH = " \\\n    --hash=sha256:" + "0" * 64 + "\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the environments; not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "authcache-harness" / "litellm"


@pytest.fixture
def fake_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    """A uv that needs no index."""
    (tmp_path / "tools").mkdir()
    fake = FakeUv(tmp_path / "tools")
    # It ignores the first, polite signal.
    monkeypatch.setattr(uv, "_END_GRACE_S", 0.1)
    for module in (install, resolve):
        monkeypatch.setattr(module, "find_uv", lambda: fake.path)
    return fake


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Release]:
    """Makes a known release with pins of two packages."""
    folder = tmp_path / "pins"
    folder.mkdir()
    monkeypatch.setattr(pins, "PINS_FOLDER", folder)

    def make(version: str) -> Release:
        text = f"litellm=={version}{HASH}redis==8.1.0{HASH}"
        (folder / f"{version}.txt").write_text(text)
        return Release(version=version, title="made up")

    return make
