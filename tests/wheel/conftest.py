"""`harness up` of the wheel meets the Docker that the tests of the Compose stack have."""

from __future__ import annotations

from tests.stack.compose.conftest import docker, folder
from tests.stack.compose.test_up import stack

__all__ = ["docker", "folder", "stack"]
