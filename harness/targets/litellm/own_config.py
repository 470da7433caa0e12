"""Reads a configuration of the user's own, with the YAML parser of a release's environment."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.process import groups
from harness.targets.litellm.environment import Environment
from harness.targets.litellm.inside.proxy_config import proxy_config
from harness.targets.litellm.inside.settings import Settings
from harness.targets.litellm.inside.user_config import (
    GENERAL,
    LITELLM,
    MODELS,
    ROUTER,
    VARIABLES,
    Merged,
    merge,
    owned_variable,
    variables_named,
)
from harness.targets.litellm.sources import Config

_PARSE = """
import json, sys, yaml
try:
    # A date is a string here.
    print(json.dumps(yaml.safe_load(sys.stdin.buffer.read()), default=str))
except yaml.MarkedYAMLError as error:
    # Its own text quotes the line, which may hold a secret.
    mark = error.problem_mark
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    sys.exit(f"no YAML: {error.problem}{where}")
except (yaml.YAMLError, ValueError, RecursionError) as error:
    sys.exit(f"no YAML: {type(error).__name__}")
"""
_GRACE_S = 1.0
_BYTES_MAX = 100_000
"""Of a configuration as JSON: a replica gets it in a variable, and Linux takes 128 KiB in one."""


@dataclass(frozen=True, slots=True)
class OwnConfig:
    """A configuration of the user's own."""

    name: str
    """Of the file."""
    digest: str
    """SHA-256 of the file."""
    folder: str
    """Of the file, where LiteLLM looks for Python files that the configuration names."""
    content: Mapping[str, Any]
    keep_callbacks: bool
    merged: Merged
    """With settings of no run; for its lists."""
    variables: Mapping[str, str]
    """The environment variables that it names, and that are set here."""
    unset: tuple[str, ...]
    """Those that it names and that are not set."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures must know of it: names, and no value."""
        merged = self.merged
        said = (
            (merged.overridden, "set by the harness"),
            (merged.off, "off, because it may call a real service (--keep-callbacks keeps it)"),
            (merged.kept, "on, and may call a real service"),
            (merged.mocked, "models that reply with a mock, as no load may reach a provider"),
            (self.unset, "named by it, and not set in this environment"),
        )
        return tuple(f"{self.name}: {what}: {', '.join(names)}." for names, what in said if names)


async def read_config(config: Config, environment: Environment) -> OwnConfig:
    """Read and check a configuration. Raises UsageError."""
    name = config.path.name
    try:
        text = config.path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The configuration [{config.path}] cannot be read: {error.strerror}. Check --config."
        ) from error
    done = await groups.run(*(environment.python, "-I", "-c", _PARSE), stdin=text, grace_s=_GRACE_S)
    if done.code != 0:
        last = (done.err.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"The configuration [{name}] is {last}. Correct the file.")
    if len(done.out) > _BYTES_MAX:
        raise UsageError(
            f"The configuration [{name}] has {len(done.out):,} bytes as JSON, and a replica takes "
            f"{_BYTES_MAX:,}. Leave out models and sections that the run does not need."
        )
    content = json.loads(done.out)
    _check(content, name)
    ours = proxy_config(Settings(variant="", version="", dsn="", ttl_s=1.0), "")
    merged = merge(content, ours, keep_callbacks=config.keep_callbacks)
    named = [
        one for one in dict.fromkeys(variables_named(merged.config)) if not owned_variable(one)
    ]
    return OwnConfig(
        name=name,
        digest=hashlib.sha256(text).hexdigest(),
        folder=str(config.path.resolve().parent),
        content=content,
        keep_callbacks=config.keep_callbacks,
        merged=merged,
        variables={one: os.environ[one] for one in named if one in os.environ},
        unset=tuple(one for one in named if one not in os.environ),
    )


def _check(content: Any, name: str) -> None:
    """Raise UsageError for a file that is not shaped as LiteLLM's configuration."""
    if not isinstance(content, dict):
        raise UsageError(
            f"The configuration [{name}] is no table of settings. Write LiteLLM's sections, as "
            "general_settings, at its top."
        )
    if "include" in content:
        raise UsageError(
            f"The configuration [{name}] includes other files, which are not read. Put all "
            "settings into one file."
        )
    for section in (GENERAL, LITELLM, ROUTER, VARIABLES):
        if not isinstance(content.get(section) or {}, dict):
            raise UsageError(f"In the configuration [{name}], {section} is no table. Correct it.")
    models = content.get(MODELS) or []
    if not isinstance(models, list) or not all(
        isinstance(one, dict) and isinstance(one.get("litellm_params") or {}, dict)
        for one in models
    ):
        raise UsageError(
            f"In the configuration [{name}], {MODELS} is no list of models with litellm_params. "
            "Correct it."
        )
