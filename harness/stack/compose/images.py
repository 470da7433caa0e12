"""The images that fleets run from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.stack.base import FleetSpec
from harness.stack.compose.docker import Docker, have_image
from harness.stack.compose.project import image
from harness.targets.registry import by_kind


def check_images(variants: Iterable[str]) -> list[str]:
    """Check that variants can run from the images that their kinds name in the environment.

    Returns:
        The variables of these images; none for kinds that run from the harness's own.

    Raises:
        SetupError: an image does not hold what a variant needs.
        UsageError: an image may not run.
    """
    variables = []
    for kind, names in by_kind(variants):
        if kind.image is not None:
            kind.image.check(image(kind.image.variable), names)
            variables.append(kind.image.variable)
    return variables


async def have_images(docker: Docker, specs: Sequence[FleetSpec]) -> None:
    """Pull the images of Redis and of fleets that do not run from the harness's own.

    Raises:
        UsageError, SetupError: as `check_images`.
        SetupError: an image cannot be pulled.
    """
    variables = check_images(spec.name for spec in specs)
    if any(spec.target.uses_redis for spec in specs):
        variables.insert(0, "REDIS_IMAGE")
    for variable in variables:
        await have_image(docker, variable, image(variable))
