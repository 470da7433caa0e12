"""The register of explained differences: what an entry may say, and what it covers."""

import re
from pathlib import Path

import pytest

from harness.analysis.difference import Reading, RoundedFigure
from harness.analysis.explained import known_explanations, load_register
from harness.analysis.twin_measures import MEASURES
from harness.errors import ScenarioError

DOC = Path(__file__).parents[2] / "docs" / "releases.md"
MORE_READS = """
[more-reads]
releases = "litellm>=1.84,<1.91"
measure = "source_reads"
scope = "member"
part = "user"
release_has = "more"
cause = "It asks twice."
"""
CELL = """
[a-cell]
releases = "litellm==1.94.0"
measure = "cells"
twin = "healthy"
release = "wasteful"
cause = "It asks often."
"""


@pytest.mark.parametrize(
    ("release", "spoken_of"),
    [
        ("litellm==1.84.0", True),
        ("litellm==1.90.0", True),
        ("litellm==1.91.0", False),
        ("litellm==1.83.14", False),
        ("litellm_1_84", False),
    ],
)
def test_an_entry_speaks_of_a_range_of_releases(release: str, *, spoken_of: bool) -> None:
    entry = load_register(MORE_READS, "test")["more-reads"]
    assert entry.applies_to(release) is spoken_of


@pytest.mark.parametrize(
    ("place", "twin", "release", "covered"),
    [
        (("source_reads", "member", "user"), RoundedFigure(10), RoundedFigure(20), True),
        (("source_reads", "member", "user"), None, RoundedFigure(20), True),
        (("source_reads", "member", "user"), RoundedFigure(20), RoundedFigure(10), False),
        (("source_reads", "member", "user"), RoundedFigure(20), None, False),
        (("source_reads", "member", "team"), RoundedFigure(10), RoundedFigure(20), False),
        (("source_reads", "team", "user"), RoundedFigure(10), RoundedFigure(20), False),
        (("log_pairs", "member", "user"), RoundedFigure(10), RoundedFigure(20), False),
    ],
)
def test_a_figure_is_covered_in_its_place_and_direction(
    place: tuple[str, str, str], twin: Reading, release: Reading, *, covered: bool
) -> None:
    entry = load_register(MORE_READS, "test")["more-reads"]
    assert entry.covers(*place, twin, release) is covered


def test_what_is_left_out_means_any() -> None:
    text = MORE_READS.replace('scope = "member"\n', "").replace('part = "user"\n', "")
    entry = load_register(text, "test")["more-reads"]
    assert entry.covers("source_reads", "shared_id", "team", RoundedFigure(10), RoundedFigure(20))


def test_a_cell_is_covered_by_both_words() -> None:
    entry = load_register(CELL, "test")["a-cell"]
    assert entry.covers("cells", "team", "", "healthy", "wasteful")
    assert not entry.covers("cells", "team", "", "healthy", "broken")
    assert not entry.covers("cells", "team", "", "wasteful", "healthy")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('release_has = "more"\n', "", "a figure needs release_has"),
        ('release_has = "more"', 'release_has = "other"', "release_has"),
        ('release_has = "more"', 'twin = "healthy"\nrelease = "broken"', "a figure needs"),
        ('"litellm>=1.84,<1.91"', '"litellm_1_84"', "releases are written as"),
        ('"source_reads"', '"reads"', "measure"),
        ('"source_reads"', '"cells"', "cells need twin and release"),
        ('"source_reads"', '"refusals"', "refusals need twin and release"),
        (
            'measure = "source_reads"\nscope = "member"\npart = "user"\nrelease_has = "more"',
            'measure = "cells"\ntwin = "healthy"\nrelease = "429"',
            "twin and release must be cells",
        ),
        ('"member"', '"nobody"', "scope"),
        ('cause = "It asks twice."', "", "cause"),
        ('cause = "It asks twice."', 'cause = ""', "cause"),
        ('cause = "It asks twice."', 'cause = "x"\nsince = 1', "there is no such field"),
        ("[more-reads]", "[a-name-that-is-too-long-for-its-column]", "name"),
        ("[more-reads]", "[[more-reads]]", "Field required"),
        ("[more-reads]", "[more-reads", "not TOML"),
    ],
)
def test_a_mistake_is_an_error(old: str, new: str, said: str) -> None:
    assert old in MORE_READS
    with pytest.raises(ScenarioError, match=re.escape(said)) as caught:
        load_register(MORE_READS.replace(old, new), "test.toml")
    assert "[test.toml]" in str(caught.value)


def test_the_register_is_valid_and_its_measures_are_all_there() -> None:
    assert known_explanations() is known_explanations()
    schema = load_register(MORE_READS, "test")["more-reads"].model_json_schema()
    assert schema["properties"]["measure"]["enum"] == [measure.name for measure in MEASURES]


def test_the_document_names_every_entry_with_its_cause_and_no_other() -> None:
    text = DOC.read_text(encoding="utf-8")
    section = text.split("## Explained differences")[1].split("\n## ")[0]
    said = dict(re.findall(r"^- \*\*([a-z0-9-]+)\*\*: (.+(?:\n  .+)*)", section, re.MULTILINE))
    written = {name: " ".join(cause.split()) for name, cause in said.items()}
    assert written == {name: e.cause for name, e in known_explanations().items()}
