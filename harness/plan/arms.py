"""Arms of a run: its variants with their targets, ready to start."""

from __future__ import annotations

from collections.abc import Sequence

from harness.authcache.variants import Variant
from harness.domain.progress import Progress
from harness.plan.plan import Arm
from harness.targets.base import Choice
from harness.targets.registry import REFERENCE, kind_of_choice


async def make_arms(choices: Sequence[Choice], progress: Progress) -> list[Arm]:
    """Arms in the order of the choices; releases that are missing are installed.

    Raises:
        HarnessError: what `harness.targets.base.Kind.target` raises.
    """
    return [
        Arm(choice.name, choice.title, await kind_of_choice(choice).target(choice, progress))
        for choice in choices
    ]


def reference_arm(variant: Variant) -> Arm:
    """One variant on the reference proxy, after a trial of its codec. Raises CodecLoadError."""
    return Arm(variant.name, variant.title, REFERENCE.ready(variant))
