"""A stack that needs Python packages only: servers and replicas are child processes."""

from __future__ import annotations

from harness.stack.embedded.stack import EmbeddedStack

__all__ = ["EmbeddedStack"]
