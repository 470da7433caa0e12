"""What one replica of a LiteLLM release reads when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.targets.settings import ReplicaSettings

BOOT = Path(__file__).with_name("boot.py")
"""The script that a release's Python runs; this package does not import it."""


@dataclass(frozen=True, kw_only=True)
class Settings(ReplicaSettings):
    """Settings of a replica. Times in seconds unless the name says otherwise."""

    model: str = "mock-model"
    real_prisma: bool = False
    """Leave `prisma` to the environment, which then needs Prisma's engine."""
    installed: str = ""
    """The release in the environment; empty where it is `version`."""
    laid: Mapping[str, str] = field(default_factory=dict)
    """Folders by package that is found there and not in the environment."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The user's own configuration, under what the harness sets."""
    keep_callbacks: bool = False
    """Whether its callbacks, alerting and guardrails stay on."""
    config_folder: str = ""
    """Where Python files that it names are; empty where none may be loaded."""
