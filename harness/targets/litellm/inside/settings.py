"""What one replica of a LiteLLM release reads when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.targets.settings import ReplicaSettings

BOOT = Path(__file__).with_name("boot.py")
"""The script that a release's Python runs; this package does not import it."""


@dataclass(frozen=True, kw_only=True)
class Settings(ReplicaSettings):
    """Settings of a replica. Times in seconds unless the name says otherwise."""

    model: str = "mock-model"
    real_prisma: bool = False
    """Leave `prisma` to the environment, which then needs Prisma's engine."""
