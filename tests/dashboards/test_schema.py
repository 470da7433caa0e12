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


MISTAKES = [
    ('"lineWidth": 2', '"lineWidth": "2"'),
    ('"showPoints": "never"', '"showPoints": "nevr"'),
    ('"axisLabel"', '"axisLable"'),
    ('"legendFormat"', '"legendFormt"'),
    ('"graphMode": "area"', '"graphMode": "aera"'),
    ('"mode": "absolute"', '"mode": "absolut"'),
    ('"refresh": 2', '"refresh": 7'),
]


@pytest.fixture(scope="module")
def judged() -> dict[str, str]:
    """What the compiler says of each dashboard, and of one with each mistake; empty when nothing.

    One start of the compiler reads the types once for all.
    """
    right = {name: (FOLDER / name).read_text(encoding="utf-8") for name in NAMES}
    one = right[NAMES[0]]
    boards = right | {wrong: one.replace(was, wrong, 1) for was, wrong in MISTAKES}
    folder, types = grafana_schema(), TYPES.read_text(encoding="utf-8")
    sources = {f"board{number}.ts": name for number, name in enumerate(boards)}
    for source, name in sources.items():
        board = f"{types}\nexport const board: Plain<Board> = {boards[name]};\n"
        (folder / source).write_text(board, encoding="utf-8")
    try:
        done = subprocess.run(
            [folder / "node_modules" / ".bin" / "tsc", *OPTIONS, *sources],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        for source in sources:
            (folder / source).unlink()
    said = dict.fromkeys(boards, "")
    for line in done.stdout.splitlines():
        # Lines of detail are indented.
        if not line.startswith(" "):
            said[sources[line.split("(")[0]]] += line
    return said


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_fits_grafanas_types(judged: dict[str, str], name: str) -> None:
    assert judged[name] == ""


@pytest.mark.parametrize(("right", "wrong"), MISTAKES)
def test_the_types_refuse_a_mistake(judged: dict[str, str], right: str, wrong: str) -> None:
    assert right in (FOLDER / NAMES[0]).read_text(encoding="utf-8")
    assert "error TS" in judged[wrong]
