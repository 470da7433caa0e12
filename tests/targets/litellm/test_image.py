from __future__ import annotations

import pytest

from harness.errors import SetupError, UsageError
from harness.stack.compose.project import IMAGES
from harness.targets.litellm.image import check_image, release_of


@pytest.mark.parametrize(
    ("image", "release"),
    [
        (IMAGES["LITELLM_IMAGE"], "1.84.0rc1"),
        ("ghcr.io/berriai/litellm:main-v1.83.14-stable", "1.83.14"),
        ("litellm/litellm-database:v1.90.0.dev2", "1.90.0.dev2"),
    ],
)
def test_the_release_of_an_image(image: str, release: str) -> None:
    assert release_of(image) == release


@pytest.mark.parametrize("image", ["litellm/litellm:latest", "localhost/1.84.0", "a:5000/b"])
def test_an_image_that_names_no_release(image: str) -> None:
    with pytest.raises(SetupError, match=r"names no release.*VARIANTS="):
        release_of(image)
    check_image(image, ["1.84.0rc1"])


@pytest.mark.parametrize("image", ["litellm/litellm:main-v1.107.3-stable", "a/litellm:1.107"])
def test_an_image_of_the_compromised_release(image: str) -> None:
    with pytest.raises(UsageError, match="compromised"):
        release_of(image)
    for releases in ([], ["1.84.0"]):
        with pytest.raises(UsageError, match="compromised"):
            check_image(image, releases)


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("litellm/litellm-database:1.84.0-rc.1", "1.84.0rc1"),
        ("a:5000/litellm:main-v1.83.14-stable", "1.83.14"),
        (f"litellm/litellm:v1.90.0@sha256:{'1' * 64}", "1.90"),
    ],
)
def test_an_image_is_held_to_the_release_that_is_asked_for(image: str, release: str) -> None:
    check_image(image, [release])
    with pytest.raises(SetupError, match=r"holds LiteLLM \[.*not \[1\.95\.0\]"):
        check_image(image, ["1.95.0"])
    with pytest.raises(SetupError, match="from the one image"):
        check_image(image, [release, "1.95.0"])
