from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from harness.errors import HarnessError, SetupError, UsageError
from harness.targets.litellm.pins import (
    PINS_FOLDER,
    fingerprint,
    overrides,
    read_pins,
    recorded_pins,
    requirements,
)
from harness.targets.litellm.releases import EXCLUSION, Release, known_releases, release_of

RELEASES = list(known_releases().values())
HASH = "    --hash=sha256:" + "0" * 64
RC1 = release_of("1.84.0rc1")


def entry(line: str, *hashes: str) -> str:
    return " \\\n".join((line, *(hashes or (HASH,)))) + "\n"


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.version)
def test_every_known_release_has_hashed_pins_of_exactly_that_release(release: Release) -> None:
    text = recorded_pins(release)
    assert text is not None

    pinned = read_pins(text, release)

    assert pinned["litellm"] == release.version
    assert {"asyncpg", "prometheus-client", "redis", "uvicorn"} <= pinned.keys()
    assert {"litellm-proxy-extras", "fastapi"} <= pinned.keys(), "the extra proxy is in it"
    assert "prisma" not in pinned, "ours stands in for it"
    assert len(pinned) > 90
    assert re.findall(r"^litellm==(\S+)", text, re.MULTILINE) == [release.version]
    assert "1.107" not in re.findall(r"^litellm.*", text, re.MULTILINE)
    assert "://" not in text
    assert "/" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in one for one in entries)
    assert not any(one.startswith("-") for one in entries)


def test_there_are_no_pins_of_anything_else() -> None:
    assert {path.stem for path in PINS_FOLDER.iterdir()} == set(known_releases())


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.version)
def test_pins_hold_to_the_recorded_relaxations(release: Release) -> None:
    text = recorded_pins(release)
    assert text is not None
    pinned = read_pins(text, release)

    for relaxation in release.relaxations:
        assert relaxation.why
        if not relaxation.use:
            assert relaxation.package not in pinned
            continue
        asked, use = Requirement(relaxation.asked), Requirement(relaxation.use)
        assert use.specifier.contains(pinned[use.name])
        narrower = "later versions" in relaxation.why
        assert narrower or not asked.specifier.contains(pinned[asked.name]), "it is not needed"


def test_the_resolver_is_asked_for_the_proxy_of_one_release_and_never_for_1_107() -> None:
    lines = requirements(RC1).splitlines()

    assert lines[:2] == ["litellm[proxy]==1.84.0rc1", EXCLUSION]
    assert not Requirement(lines[1]).specifier.contains("1.107.2")
    assert overrides(RC1.relaxations) == ""
    assert "certifi>=2026.10.18\n" in overrides(release_of("1.109.1").relaxations)


def test_the_fingerprint_changes_with_what_would_be_installed() -> None:
    unknown = release_of("1.86.0")
    relaxed = Release.model_validate(
        unknown.model_dump() | {"relaxations": [{"asked": "a==1", "use": "a", "why": "gone"}]}
    )
    prints = {fingerprint(one) for one in (RC1, *RELEASES, unknown, relaxed)}

    assert len(prints) == len(RELEASES) + 2
    assert all(re.fullmatch(r"[0-9a-f]{8}", one) for one in prints)
    assert recorded_pins(unknown) is None


def test_only_what_this_platform_takes_is_counted() -> None:
    text = (
        entry("litellm==1.84.0rc1")
        + entry("tzdata==2026.1 ; sys_platform == 'none'")
        + entry("uvloop==0.21.0 ; sys_platform != 'none'", HASH, HASH)
    )

    assert read_pins(text, RC1) == {"litellm": "1.84.0rc1", "uvloop": "0.21.0"}


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("", SetupError, r"not a hashed pin: \[\]"),
        ("litellm==1.84.0rc1\n", SetupError, r"not a hashed pin: \[litellm==1.84.0rc1\]"),
        (entry("litellm==1.84.0rc1") + entry("a>=1"), SetupError, r"\[a>=1"),
        (entry("a @ https://a.example/a.whl"), SetupError, "not a hashed pin"),
        (entry("--index-url==https://a.example"), SetupError, "not a hashed pin"),
        (entry("litellm==1.84.0rc1", HASH, "    --find-links=x"), SetupError, "not a hashed pin"),
        (entry("redis==https://a.example/a"), SetupError, r"\[redis==https"),
        (entry("redis==8.1.0 ; 3 is a number"), SetupError, "not a hashed pin"),
        (entry("litellm==1.84.10"), SetupError, r"hold LiteLLM \[1.84.10\]"),
        (entry("redis==8.1.0"), SetupError, r"hold LiteLLM \[None\]"),
        (entry("litellm==1.107.3"), UsageError, "compromised"),
        (
            entry("litellm==1.84.0rc1") + entry("litellm==1.107.0rc1 ; sys_platform == 'none'"),
            UsageError,
            "compromised",
        ),
    ],
)
def test_pins_that_are_no_pins_are_refused(
    text: str, error: type[HarnessError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        read_pins(text, RC1)


def test_versions_in_pins_are_versions() -> None:
    for release in RELEASES:
        for version in read_pins(recorded_pins(release) or "", release).values():
            Version(version)
