"""The JSON against the types that Grafana publishes, by the TypeScript compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.dashboards.boards import FOLDER, NAMES
from tests.programs import grafana_schema

pytestmark = pytest.mark.integration

TYPES = Path(__file__).parent / "grafana_schema.ts"
OPTIONS = [
    *("--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "node"),
    *("--module", "esnext", "--target", "es2022"),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return grafana_schema()


def _judged(folder: Path, name: str, text: str) -> str:
    """What the compiler says of a dashboard; empty when nothing."""
    source = folder / f"{name}.ts"
    types = TYPES.read_text(encoding="utf-8")
    source.write_text(f"{types}\nexport const board: Plain<Board> = {text};\n", encoding="utf-8")
    try:
        compiler = folder / "node_modules" / ".bin" / "tsc"
        done = subprocess.run(
            [compiler, *OPTIONS, source.name],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        source.unlink()
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_fits_grafanas_types(folder: Path, name: str) -> None:
    assert _judged(folder, name.removesuffix(".json"), (FOLDER / name).read_text()) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"lineWidth": 2', '"lineWidth": "2"'),
        ('"showPoints": "never"', '"showPoints": "nevr"'),
        ('"axisLabel"', '"axisLable"'),
        ('"legendFormat"', '"legendFormt"'),
        ('"graphMode": "area"', '"graphMode": "aera"'),
        ('"mode": "absolute"', '"mode": "absolut"'),
        ('"refresh": 2', '"refresh": 7'),
    ],
)
def test_the_types_refuse_a_mistake(folder: Path, right: str, wrong: str) -> None:
    text = (FOLDER / NAMES[0]).read_text()
    assert right in text
    assert "error TS" in _judged(folder, f"wrong-{abs(hash(wrong))}", text.replace(right, wrong, 1))
