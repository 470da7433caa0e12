"""LiteLLM's releases as a kind of target: a variant named ``litellm==X`` is release X."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.domain.progress import Progress
from harness.errors import UsageError
from harness.targets.base import Target, TargetKind
from harness.targets.litellm.image import LiteLLMImage
from harness.targets.litellm.releases import (
    Release,
    covers,
    is_range,
    is_release_name,
    parse_release,
    relaxed_names,
)
from harness.targets.schema.database import LiteLLMDatabase

PRISMA_VARIABLE = "LITELLM_PRISMA"
"""``real`` uses the `prisma` of a release's environment; unset or ``stand-in`` uses ours."""


class LiteLLMKind(TargetKind[Release]):
    """Real releases, installed when they are first used."""

    name = "litellm"
    scales_times = False
    image = LiteLLMImage()
    database = LiteLLMDatabase()

    def owns(self, variant: str) -> bool:
        """Names of the package, with or without a version."""
        return is_release_name(variant)

    def known(self, name: str) -> bool:
        """Ranges of releases, as ``litellm>=1.84.0rc1,<1.89``."""
        return is_range(name)

    def matches(self, name: str, variant: str) -> bool:
        """Whether a release is within a range."""
        return covers(name, variant)

    def choose(self, variant: str) -> Release:
        """The release. Raises UsageError."""
        return parse_release(variant)

    def relax(self, choice: Release, packages: Sequence[str]) -> Release:
        """The release, of whose packages some may be others than it asks for.

        Pins that the project records are installed as they are. Raises UsageError for a text that
        names no package, and for LiteLLM itself.
        """
        from harness.targets.litellm.pins import recorded_pins  # noqa: PLC0415 - see `target`

        names = relaxed_names(packages)
        recorded = recorded_pins(choice) is not None
        return choice if recorded else choice.model_copy(update={"relax": names})

    async def target(self, choice: Release, progress: Progress) -> Target:
        """The release, installed.

        Raises:
            SetupError: it cannot be installed or does not run on this Python.
            UsageError: the variable LITELLM_PRISMA has an invalid value.
        """
        # Parsing a name must not import what only a run needs; see `TargetKind`.
        from harness.targets.litellm.install import ensure_environment  # noqa: PLC0415 - see above
        from harness.targets.litellm.target import LiteLLMTarget  # noqa: PLC0415 - see above

        real_prisma = _real_prisma()
        environment = await ensure_environment(choice, progress)
        return LiteLLMTarget(choice, environment, real_prisma=real_prisma)


def _real_prisma() -> bool:
    value = os.environ.get(PRISMA_VARIABLE, "stand-in")
    if value not in {"real", "stand-in"}:
        raise UsageError(
            f"{PRISMA_VARIABLE} is [{value}]. Set it to [real] for the environment's own prisma "
            "and engine, or unset it to use the stand-in."
        )
    return value == "real"
