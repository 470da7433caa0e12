"""Official images of LiteLLM, and which release one of them holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import Version

from harness.errors import SetupError
from harness.targets.base import Image
from harness.targets.litellm.releases import PROJECT, parse_release, refuse_compromised

_NUMBERS = re.compile(r"\d+(?:\.\d+)+")
_RELEASE = re.compile(r"(\d+\.\d+\.\d+)(?:[-.]?(rc|dev)[-.]?(\d+))?")


class LiteLLMImage(Image):
    """The image in LITELLM_IMAGE; all releases of a stack run from it, so it holds one release."""

    variable = "LITELLM_IMAGE"

    def variant(self, image: str) -> str:
        """The variant name of the release in an image. Raises as `release_of`."""
        return f"{PROJECT}=={release_of(image)}"

    def check(self, image: str, variants: Iterable[str]) -> None:
        """Check that an image holds these releases. Raises as `check_image`."""
        check_image(image, [parse_release(name).version for name in variants])


def release_of(litellm_image: str) -> str:
    """The release version that an official image's tag names, spelled as `pip` does.

    Raises:
        SetupError: the tag names none.
        UsageError: it names the refused release.
    """
    _refuse(litellm_image)
    release = _named(litellm_image)
    if release is None:
        raise SetupError(
            f"The tag of the image [{litellm_image}] names no release. Give the version yourself: "
            "VARIANTS=litellm==1.84.0rc1."
        )
    return release


def check_image(litellm_image: str, releases: Iterable[str]) -> None:
    """Check that an image may run, and holds the requested release.

    A tag that names no release is not checked.

    Args:
        litellm_image: as LITELLM_IMAGE has it.
        releases: versions of all releases that will run from it.

    Raises:
        UsageError: the image's name or tag says that it holds the compromised release.
        SetupError: it holds another release, or several are asked of the one image.
    """
    _refuse(litellm_image)
    wanted = sorted({Version(release) for release in releases})
    if len(wanted) > 1:
        raise SetupError(
            f"The releases [{', '.join(map(str, wanted))}] would all run from the one image "
            f"[{litellm_image}]. Give each a stack of its own, or compare them with STACK=embedded."
        )
    release = _named(litellm_image)
    if wanted and release is not None and Version(release) != wanted[0]:
        raise SetupError(
            f"The image [{litellm_image}] holds LiteLLM [{release}], not [{wanted[0]}]. Name that "
            f"release's image in LITELLM_IMAGE, or the variant litellm=={release}."
        )


def _refuse(litellm_image: str) -> None:
    # Checks every number in name and tag: mirrors rename their copies.
    for numbers in _NUMBERS.findall(_without_place(litellm_image)):
        refuse_compromised(numbers)


def _named(litellm_image: str) -> str | None:
    _, colon, tag = _without_place(litellm_image).partition(":")
    found = _RELEASE.search(tag)
    if not colon or found is None:
        return None
    version, kind, number = found.groups(default="")
    separator = "." if kind == "dev" else ""
    return f"{version}{separator}{kind}{number}"


def _without_place(litellm_image: str) -> str:
    """Name and tag, without registry, folders and digest."""
    return litellm_image.partition("@")[0].rpartition("/")[2]
