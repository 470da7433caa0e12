"""Arms of a run: variants of the reference proxy and releases of LiteLLM, ready to start."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.authcache.codecs import load_codec
from harness.authcache.codecs.probe import probe
from harness.authcache.variants import Variant
from harness.domain.progress import Progress
from harness.errors import UsageError
from harness.plan.plan import Arm
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import Release
from harness.targets.litellm.target import LiteLLMTarget
from harness.targets.reference.target import ReferenceTarget

PRISMA_VARIABLE = "LITELLM_PRISMA"
"""``real`` uses the `prisma` of a release's environment; unset or ``stand-in`` uses ours."""


async def make_arms(choices: Sequence[Variant | Release], progress: Progress) -> list[Arm]:
    """Arms in the order of the choices; releases are installed where they are not.

    Raises:
        CodecLoadError: a codec cannot be loaded or does not keep its word.
        SetupError: a release cannot be installed or does not run on this Python.
        UsageError: the variable LITELLM_PRISMA holds something else than it may.
    """
    arms = []
    for choice in choices:
        if isinstance(choice, Release):
            arms.append(await _release_arm(choice, progress))
        else:
            arms.append(reference_arm(choice))
    return arms


def reference_arm(variant: Variant) -> Arm:
    """One variant on the reference proxy, its codec tried out. Raises CodecLoadError."""
    codec = variant.switches.codec
    probe(load_codec(codec), codec)
    return Arm(variant.name, variant.title, ReferenceTarget(variant), variant.overridden)


async def _release_arm(release: Release, progress: Progress) -> Arm:
    real_prisma = _real_prisma()
    environment = await ensure_environment(release, progress)
    target = LiteLLMTarget(release, environment, real_prisma=real_prisma)
    return Arm(
        release.name,
        release.title,
        target,
        hard_coded=release.hard_coded,
        takes_premises=False,
    )


def _real_prisma() -> bool:
    value = os.environ.get(PRISMA_VARIABLE, "stand-in")
    if value not in {"real", "stand-in"}:
        raise UsageError(
            f"{PRISMA_VARIABLE} is [{value}]. Set it to [real] for the environment's own prisma "
            "and engine, or leave it out for the stand-in."
        )
    return value == "real"
