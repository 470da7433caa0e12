"""Fixtures of the web UI's tests."""

from __future__ import annotations

from tests.load.conftest import keys, keys_file

__all__ = ["keys", "keys_file"]
