"""What of the docs is made from the code is as the code makes it (`make docs` mends it)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from harness.analysis.cells import CELLS
from harness.domain.result import Cell, Result
from tests.report.sample import issue_27874
from tools import docs

FILES = docs.files()


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_what_the_code_makes(name: str) -> None:
    assert (docs.ROOT / name).read_text(encoding="utf-8") == FILES[name], "Run make docs."


def test_a_change_by_hand_between_the_marks_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    for name, made in FILES.items():
        (tmp_path / name).write_text(made.replace("none of the above", "by hand"), encoding="utf-8")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    assert docs.files() == FILES


def test_a_page_without_the_marks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    text = FILES["docs/method.md"].replace("<!-- cells: end -->", "")
    (tmp_path / "docs" / "method.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="cells: end"):
        docs.files()


@pytest.mark.parametrize(
    "model", list(docs.models(Result, set())), ids=lambda model: model.__name__
)
def test_every_model_and_field_says_what_it_means(model: type[Result]) -> None:
    assert model.__doc__
    assert [n for n, field in model.model_fields.items() if not field.description] == []


def test_every_cell_says_when_it_applies() -> None:
    assert tuple(CELLS) == get_args(Cell)


def test_the_json_schema_names_what_a_result_holds_and_no_more() -> None:
    schema = json.loads(FILES["docs/result.schema.json"])
    dumped = json.loads(issue_27874().model_dump_json())
    assert set(schema["properties"]) == set(dumped)
    variant = schema["$defs"]["VariantResult"]
    assert set(variant["properties"]) == set(dumped["variants"]["recommended"])
    assert all(part["additionalProperties"] is False for part in (schema, variant))


def test_links_within_the_page_of_the_schema_lead_somewhere() -> None:
    page = FILES["docs/result-schema.md"]
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {heading.lower().replace("`", "").replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


def test_test_data_is_out_of_reach_of_the_product() -> None:
    for path in (docs.ROOT / "harness").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) tests\b", text, re.MULTILINE), path
