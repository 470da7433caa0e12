"""LiteLLM as a kind of target: releases, trees and wheels, by the names of `sources`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.domain.progress import Progress
from harness.errors import UsageError
from harness.targets.base import Choice, Target, TargetKind
from harness.targets.litellm.image import LiteLLMImage
from harness.targets.litellm.releases import (
    Release,
    covers,
    is_range,
    relaxed_names,
    release_of,
)
from harness.targets.litellm.sources import (
    CodeSource,
    Config,
    configured,
    is_source_name,
    parse_source,
    relaxed,
)
from harness.targets.schema.database import LiteLLMDatabase

PRISMA_VARIABLE = "LITELLM_PRISMA"
"""``real`` uses the `prisma` of a release's environment; unset or ``stand-in`` uses ours."""


class LiteLLMKind(TargetKind[Release | CodeSource]):
    """Real releases, installed when they are first used, and what is laid over them."""

    name = "litellm"
    scales_times = False
    image = LiteLLMImage()
    database = LiteLLMDatabase()

    def owns(self, variant: str) -> bool:
        """Names of the package, with or without a version, and of its sources."""
        return is_source_name(variant)

    def makes(self, choice: Choice) -> bool:
        """A release or a source, whatever its name."""
        return isinstance(choice, Release | CodeSource)

    def known(self, name: str) -> bool:
        """Ranges of releases, as ``litellm>=1.84.0rc1,<1.89``."""
        return is_range(name)

    def matches(self, name: str, variant: str) -> bool:
        """Whether a release is within a range."""
        return covers(name, variant)

    def choose(self, variant: str) -> Release | CodeSource:
        """The release or source. Raises UsageError."""
        return parse_source(variant)

    def configure(
        self,
        choice: Release | CodeSource,
        *,
        environment: str | None,
        config: Path | None,
        keep_callbacks: bool,
    ) -> Release | CodeSource:
        """As `TargetKind.configure`; a release runs in its own environment alone."""
        own = None if config is None else Config(config, keep_callbacks)
        return configured(choice, within=environment, config=own)

    def renamed(self, choice: Release | CodeSource, name: str) -> CodeSource:
        """As `TargetKind.renamed`."""
        if isinstance(choice, CodeSource):
            return replace(choice, name=name)
        return CodeSource(name, choice)

    def relax(self, choice: Release | CodeSource, packages: Sequence[str]) -> Release | CodeSource:
        """The release, of whose packages some may be others than it asks for.

        Raises UsageError for a text that names no package, and for LiteLLM itself.
        """
        if isinstance(choice, CodeSource):
            if choice.release is None:
                return relaxed(choice, packages)
            return replace(choice, release=relax_release(choice.release, packages))
        return relax_release(choice, packages)

    async def target(self, choice: Release | CodeSource, progress: Progress) -> Target:
        """The release or source, installed.

        Raises:
            SetupError: it cannot be installed or does not run on this Python.
            UsageError: the variable LITELLM_PRISMA has an invalid value; a source cannot be
                snapshotted.
        """
        # Parsing a name must not import what only a run needs; see `TargetKind`.
        from harness.targets.litellm.install import ensure_environment  # noqa: PLC0415 - see above
        from harness.targets.litellm.own_config import read_config  # noqa: PLC0415 - see above
        from harness.targets.litellm.snapshot import lay  # noqa: PLC0415 - see above
        from harness.targets.litellm.target import LiteLLMTarget  # noqa: PLC0415 - see above

        real_prisma = _real_prisma()
        source = choice if isinstance(choice, CodeSource) else CodeSource(choice.name, choice)
        laid = None if source.place is None else await lay(source, progress)
        if laid is not None:
            release, environment = release_of(laid.version), laid.environment
        else:
            assert source.release is not None, "a source has a place or a release"
            release = source.release
            environment = await ensure_environment(release, progress)
        own = None if source.config is None else await read_config(source.config, environment)
        return LiteLLMTarget(release, environment, real_prisma=real_prisma, laid=laid, own=own)


def relax_release(release: Release, packages: Sequence[str]) -> Release:
    """A release with relaxed packages. Raises UsageError."""
    return release.model_copy(update={"relax": relaxed_names(packages)})


def _real_prisma() -> bool:
    value = os.environ.get(PRISMA_VARIABLE, "stand-in")
    if value not in {"real", "stand-in"}:
        raise UsageError(
            f"{PRISMA_VARIABLE} is [{value}]. Set it to [real] for the environment's own prisma "
            "and engine, or unset it to use the stand-in."
        )
    return value == "real"
