"""What the commands make of stored runs: texts on the terminal, and files in a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from tests.golden import product as p
from tests.golden import stored

SCREEN = {"COLUMNS": "120", "LINES": "50", "TERM": "dumb", "NO_COLOR": "1", "FORCE_COLOR": None}
COMMANDS: dict[str, tuple[str, ...]] = {
    **{f"report-{name}": ("report", name) for name in stored.names()},
    "compare": ("compare", "--anyway", "issue-27874", "sample", "smoke"),
    "compare-markdown": ("compare", "--anyway", "--markdown", "issue-27874", "sample"),
    "compare-refused": ("compare", "issue-27874", "smoke"),
    "compare-one": ("compare", "smoke"),
    "twins": ("twins", "--from", "sample-twins"),
    "twins-of-no-pair": ("twins", "--from", "sample-twins", "--only", "litellm_1_91"),
    "history": ("history", "--from", "sample-releases"),
    "history-of-no-release": ("history", "--from", "smoke"),
    "report-of-no-run": ("report", "smokee"),
}


def command(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """What a command prints with its exit code, then each file that it writes."""
    arguments = COMMANDS[name]
    runs = folder / "runs"
    for run in stored.names():
        # Also for a name with a letter too many, whose error names the nearest run.
        if any(argument.startswith(run) for argument in arguments):
            stored.unpack(run, runs)
    before = _contents(runs)
    done = CliRunner(env=SCREEN).invoke(p.main, [*arguments, "--runs-dir", str(runs)])
    said = done.output.replace(str(runs.resolve()), "RUNS").replace(str(runs), "RUNS")
    yield f"{name}.txt", f"{said}exit code {done.exit_code}\n"
    for path, text in _contents(runs).items():
        if before.get(path) != text:
            yield f"{name}.{path.name}", text


def _contents(runs: Path) -> dict[Path, str]:
    files = sorted(path for path in runs.rglob("*") if path.is_file())
    return {path: path.read_text(encoding="utf-8") for path in files}


def result(name: str, folder: Path) -> str:
    """``result.json``, made again of the stored evidence."""
    p.write_result(folder, stored.analysed(name, folder))
    return (folder / "result.json").read_text(encoding="utf-8")
