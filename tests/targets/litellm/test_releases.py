from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from harness.authcache.variants import load_variants
from harness.errors import ScenarioError, UsageError
from harness.targets.litellm.releases import (
    EXCLUSION,
    is_release_name,
    known_releases,
    load_table,
    parse_release,
    parse_version,
    refuse_compromised,
    release_of,
)

MUST_RUN = {"1.83.14", "1.84.0rc1", "1.84.10", "1.90.0", "1.91.0", "1.93.0", "1.94.0", "1.109.1"}
MUST_RUN |= {"1.88.6", "1.92.2", "1.95.1", "1.96.2", "1.100.5", "1.102.4", "1.104.9", "1.105.7"}

number = st.integers(0, 200)
zeros = st.sampled_from(["", "0", "00"])
separator = st.sampled_from(["", ".", "-", "_"])


@st.composite
def tails(draw: st.DrawFn) -> str:
    """What may follow a version's second number, in any spelling of PEP 440."""
    more = "".join(f".{n}" for n in draw(st.lists(number, max_size=3)))
    pre = post = dev = local = ""
    if draw(st.booleans()):
        word = draw(st.sampled_from(["a", "b", "c", "rc", "RC", "alpha", "beta", "pre", "preview"]))
        pre = draw(separator) + word + draw(separator) + str(draw(number))
    if draw(st.booleans()):
        post = draw(
            st.sampled_from(
                [f"-{draw(number)}", f".post{draw(number)}", f"-r{draw(number)}", ".rev"]
            )
        )
    if draw(st.booleans()):
        dev = f"{draw(separator)}dev{draw(number)}"
    if draw(st.booleans()):
        local = "+" + draw(st.sampled_from(["x", "1", "cpu.1", "g0a1b-2"]))
    return more + pre + post + dev + local


compromised = st.builds(
    "{}{}{}1.{}107{}".format,
    st.sampled_from(["", "v", "V"]),
    st.sampled_from(["", "0!", "1!", "7!"]),
    zeros,
    zeros,
    tails(),
)


@given(compromised)
def test_1_107_is_refused_in_every_spelling(text: str) -> None:
    assert Version(text).release[:2] == (1, 107)
    asks: list[Callable[[], object]] = [
        lambda: parse_release(f"litellm=={text}"),
        lambda: release_of(text),
        lambda: parse_version(text),
        lambda: refuse_compromised(text),
    ]
    for ask in asks:
        with pytest.raises(UsageError, match="compromised"):
            ask()


def test_a_row_of_the_refused_release_is_refused_too() -> None:
    with pytest.raises(UsageError, match="compromised release"):
        load_table('["1.107.1"]\ntitle = "a row"', "mine.toml")


@given(compromised)
def test_no_resolver_can_choose_1_107(text: str) -> None:
    excluded = Requirement(EXCLUSION)
    version = Version(text)

    assert canonicalize_name(excluded.name) == "litellm"
    # A specifier without an epoch does not speak of versions with one; those never get this far.
    if version.epoch == 0:
        assert not excluded.specifier.contains(version, prereleases=True)


@given(st.tuples(number, number, number).filter(lambda it: it[:2] != (1, 107)), st.booleans())
def test_nothing_else_is_taken_for_1_107(numbers: tuple[int, int, int], rc: bool) -> None:
    text = "{}.{}.{}".format(*numbers) + ("rc1" if rc else "")

    assert parse_release(f"litellm=={text}").version == text
    assert SpecifierSet(EXCLUSION.removeprefix("litellm")).contains(text, prereleases=True)


@pytest.mark.parametrize(
    "name",
    [
        "litellm==1.84.0rc1",
        "litellm==1.84.0-rc.1",
        "litellm==1.84.0.RC-1",
        "litellm==v1.84rc1",
        "LiteLLM == 1.84.0.0-c1",
    ],
)
def test_spellings_of_one_release_are_one_release(name: str) -> None:
    assert is_release_name(name)
    assert parse_release(name) is known_releases()["1.84.0rc1"]
    assert parse_release(name).name == "litellm==1.84.0rc1"


def test_what_a_person_names_needs_no_package() -> None:
    assert parse_version("1.91") == parse_version("litellm==1.91.0") == known_releases()["1.91.0"]


def test_a_release_that_was_not_tried_is_a_release() -> None:
    release = parse_release("litellm==1.86")

    assert (release.version, release.known, release.twin) == ("1.86.0", False, None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("litellm", "exactly one version"),
        ("litellm==", "as PyPI spells it"),
        ("litellm==latest", "as PyPI spells it"),
        ("litellm==1.107.x", "as PyPI spells it"),
        ("litellm>=1.84.0", "exactly one version"),
        ("litellm===1.84.0", "exactly one version"),
        ("litellm==1.84.*", "exactly one version"),
        ("litellm==1.84.0,!=1.85.0", "exactly one version"),
        ("litellm==1.84.0+mine", "local part"),
        ("litellm==1!1.84.0", "epoch"),
        ("litellm[proxy]==1.84.0", "extras"),
        ("litellm==1.84.0; python_version > '3'", "extras and markers"),
        ("litellm @ file:///tmp/litellm.whl", "not an address"),
        ("litellm-proxy-extras==0.4.71", "the package is"),
    ],
)
def test_a_name_that_pins_no_release_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        parse_release(name)

    assert "names no release" in str(refused.value)
    assert "litellm==1.84.0rc1" in str(refused.value)


def test_names_of_reference_variants_mean_no_release() -> None:
    assert not any(map(is_release_name, load_variants()))
    assert is_release_name("litellm>=1")


def test_the_table_has_every_release_that_must_run() -> None:
    releases = known_releases()
    variants = load_variants()

    assert set(releases) >= MUST_RUN
    assert list(releases) == sorted(releases, key=Version)
    for version, release in releases.items():
        assert release.version == version
        assert release.known
        assert release.title
        assert SpecifierSet(release.python or "").contains("3.11.0"), "the oldest that is supported"
        assert not SpecifierSet(release.python or "").contains("3.9.0")
        assert release.twin is None or release.twin in variants
        assert release.hard_coded
        assert all(sentence.endswith(".") for sentence in release.hard_coded)


def test_twins() -> None:
    twins = {v: release.twin for v, release in known_releases().items() if release.twin}

    assert twins == {
        "1.83.14": "litellm_1_83",
        "1.84.0rc1": "litellm_1_84",
        "1.84.10": "litellm_1_84",
        "1.91.0": "litellm_1_91",
        "1.93.0": "litellm_1_93",
        "1.94.0": "litellm_1_94",
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('["1.84.0-rc1"]\ntitle = "x"', "normalised spelling is \\[1.84.0rc1\\]"),
        ('["1.84"]\ntitle = "x"', "normalised spelling is \\[1.84.0\\]"),
        ('["1.84.0"]\n', "title"),
        ('["1.84.0"]\ntitle = "x"\ntwins = "a"', "no such field"),
        ('["1.84.0"]\ntitle = "x"\npython = "3.11 and up"', "not a range of versions"),
        (
            '["1.84.0"]\ntitle = "x"\nrelaxations = [{ asked = "a=1", use = "a", why = "" }]',
            "not a req",
        ),
        (
            '["1.84.0"]\ntitle = "x"\nrelaxations = [{ asked = "a", use = "b", why = "" }]',
            "same pack",
        ),
        (
            """["1.84.0"]
            title = "x"
            relaxations = [{ asked = "litellm", use = "LiteLLM==1.107.1", why = "" }]""",
            "not LiteLLM itself",
        ),
        ('["1.84.0"', "no TOML"),
    ],
)
def test_a_row_that_is_not_valid_is_refused_with_its_place(row: str, reason: str) -> None:
    with pytest.raises(ScenarioError, match=reason) as refused:
        load_table(row, "mine.toml")

    assert "[mine.toml]" in str(refused.value)
