from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tools import names

FOLDED = {
    "harness/report/page.py": "from harness.report.words import WORDS",
    "harness/report/words.py": "WORDS = ()",
}


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> _Check:
    return _Check(tmp_path, monkeypatch, capsys)


class _Check:
    """Writes a tree, checks it, and gives exit code and output."""

    def __init__(
        self, root: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._root, self._patch, self._capsys = root, patch, capsys

    def __call__(
        self, files: Mapping[str, str], excused: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        self._patch.setattr(names, "EXCUSED", excused or {})
        for path, text in files.items():
            file = self._root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        code = names.main([str(self._root)])
        return code, self._capsys.readouterr().out


def test_a_class_name_in_two_packages_is_found_with_its_files(check: _Check) -> None:
    code, said = check(
        {"harness/plan/plan.py": "class Arm: ...", "benchmarks/arms.py": "class Arm: ..."}
    )
    assert code == 1
    assert said == (
        "The class name [Arm] is in harness/plan/plan.py, benchmarks/arms.py. Rename all but one.\n"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"harness/plan/order.py": "class Arm: ..."},
        {"standin/prisma/models.py": "class Arm: ..."},
        {"tests/plan/test_plan.py": "class Arm: ..."},
        {"benchmarks/arms.py": "class _Arm: ..."},
        {"benchmarks/arms.py": "def arms():\n    class Arm: ..."},
    ],
    ids=["same package", "stand-in", "test", "private", "inside a function"],
)
def test_other_classes_may_have_the_name(check: _Check, other: Mapping[str, str]) -> None:
    assert check({"harness/plan/plan.py": "class Arm: ...", **other})[0] == 0


def test_a_module_with_one_importer_beside_it_is_found(check: _Check) -> None:
    code, said = check(FOLDED)
    assert code == 1
    assert said.startswith("Only [harness.report.page] imports [harness.report.words], and no test")


@pytest.mark.parametrize(
    "text",
    [
        "from harness.report import words",
        "from . import words",
        "from .words import WORDS",
        "import harness.report.words",
        "def late():\n    from harness.report.words import WORDS",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .words import WORDS",
    ],
)
def test_every_way_of_importing_counts(check: _Check, text: str) -> None:
    assert check({**FOLDED, "harness/report/page.py": text})[0] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"harness/report/sheet.py": "from harness.report.words import WORDS"},
        {"harness/ui/view.py": "from harness.report.words import WORDS"},
        {"locustfile.py": "from harness.report import words"},
        {"standin/prisma/client.py": "import harness.report.words"},
        {"tests/report/test_words.py": "from harness.report.words import WORDS"},
        {"tests/report/test_words.py": "CODE = 'from harness.report.words import WORDS'"},
        {"harness/load/client.py": "ARGV = ('-m', 'harness.report.words')"},
        {"harness/cli/lists.py": "BODY = 'harness.report.words:print_all'"},
    ],
    ids=["beside", "elsewhere", "locustfile", "stand-in", "test", "test's child", "-m", "late"],
)
def test_another_use_keeps_a_module(check: _Check, other: Mapping[str, str]) -> None:
    assert check({**FOLDED, **other})[0] == 0


@pytest.mark.parametrize(
    "other",
    [
        {"harness/report/page.py": "from harness.report.sheet import x"},
        {"harness/report/__init__.py": "from harness.report.words import WORDS"},
    ],
    ids=["no importer", "the package's face"],
)
def test_a_face_passes_on_and_a_module_that_none_imports_is_no_part(
    check: _Check, other: Mapping[str, str]
) -> None:
    assert check({"harness/report/words.py": "WORDS = ()", **other})[0] == 0


@pytest.mark.parametrize(
    "prose",
    [
        '"""As `harness.report.words` has it."""',
        "# harness.report.words",
        '""\n"harness.report.words"',
    ],
)
def test_prose_that_names_a_module_does_not_keep_it(check: _Check, prose: str) -> None:
    assert check({**FOLDED, "harness/report/sheet.py": prose})[0] == 1


def test_an_excuse_is_no_use(check: _Check) -> None:
    assert check({**FOLDED, "tools/names.py": "EXCUSED = {'harness.report.words': ''}"})[0] == 1


def test_an_excuse_keeps_a_module_as_long_as_it_is_needed(check: _Check) -> None:
    assert check(FOLDED, {"harness.report.words": "a reason"})[0] == 0
    code, said = check(
        {"tests/report/test_words.py": "import harness.report.words"},
        {"harness.report.words": "a reason"},
    )
    assert code == 1
    assert said.startswith("[harness.report.words] needs no excuse any more.")


def test_a_folder_without_a_harness_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names.main([str(tmp_path)]) == 2
    assert f"There is no harness in [{tmp_path}]" in capsys.readouterr().err
