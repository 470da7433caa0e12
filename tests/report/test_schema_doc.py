"""docs/result-schema.md names every field, in the section of the part that has it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness.analysis.points import SEEN_THROUGH, Need
from harness.domain.result import SCHEMA_VERSION, Result

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "result-schema.md"


def models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """A model and all that its fields hold, each once."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in parts(field.annotation):
            yield from models(inner, seen)


def parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from parts(argument)


ALL = list(models(Result, set()))


def section(name: str) -> str:
    text = DOC.read_text(encoding="utf-8")
    match = re.search(rf"^#+ .*`{name}`.*?$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"no section for {name}"
    return match[1]


def section_titled(title: str) -> str:
    return DOC.read_text(encoding="utf-8").split(f"# {title}\n")[1].split("\n#")[0]


def documented(name: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(name), re.MULTILINE)


def test_all_parts_are_found() -> None:
    assert {m.__name__ for m in ALL} == {
        "Result", "Sizing", "VariantResult", "Window", "Range", "Latency", "Percentiles",
        "CombinedViewRow", "Ledger", "Equation", "Generator", "ExpectationResult",
    }  # fmt: skip


@pytest.mark.parametrize("model", ALL, ids=lambda m: m.__name__)
def test_every_field_is_documented_and_no_other(model: type[BaseModel]) -> None:
    assert documented(model.__name__) == list(model.model_fields)


def test_the_version_is_the_one_in_force() -> None:
    assert f"Schema version: {SCHEMA_VERSION}" in DOC.read_text(encoding="utf-8")


def test_every_row_has_all_its_fields() -> None:
    rows = [ln for ln in DOC.read_text(encoding="utf-8").splitlines() if ln.startswith("| `")]
    assert len(rows) == sum(len(model.model_fields) for model in ALL)
    assert all(len(re.split(r"(?<!\\)\|", row)) == 6 for row in rows)


@pytest.mark.parametrize("model", ALL, ids=lambda m: m.__name__)
def test_what_may_be_null_is_documented_as_such(model: type[BaseModel]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section(model.__name__), re.MULTILINE)
    may_be_null = {
        name
        for name, field in model.model_fields.items()
        if type(None) in getattr(field.annotation, "__args__", ())
    }
    assert {name for name, kind in rows if kind.endswith("or null")} == may_be_null


def test_the_page_says_what_each_measure_is_seen_through() -> None:
    table = section_titled("What nobody could see")
    rows = re.findall(r"^\| ([a-z ]+) \| (`.*) \|$", table, re.MULTILINE)
    assert [name.replace(" ", "_") for name, _ in rows] == list(SEEN_THROUGH)
    for name, points in rows:
        needs = SEEN_THROUGH[name.replace(" ", "_")]
        assert sorted(re.findall(r"`(\w+)`", points)) == sorted(need.point for need in needs)
        marked = re.findall(r"`(\w+)`¹", points)
        assert marked == [need.point for need in needs if need.releases != Need("").releases]
    ranges = {n.releases for needs in SEEN_THROUGH.values() for n in needs} - {Need("").releases}
    assert [f"`{text}`" in table for text in ranges] == [True]


def test_test_data_is_out_of_reach_of_the_product() -> None:
    for path in (ROOT / "harness").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) tests\b", text, re.MULTILINE), path
