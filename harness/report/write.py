"""Runs on disk: finding one, reading its result, writing its reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.analysis.points import without_unseen
from harness.domain.result import SCHEMA_VERSION, Result
from harness.errors import UnknownNameError, UsageError
from harness.report.html import report_html
from harness.report.markdown import summary_markdown
from harness.report.numbers import plural

RESULT = "result.json"
SUMMARY = "summary.md"
REPORT = "report.html"
MANIFEST = "manifest.json"
LATEST = "latest"


def write_reports(result: Result, run_dir: Path) -> None:
    """Write ``summary.md`` and ``report.html`` into a run's folder, beside ``result.json``.

    The page also has what ``manifest.json`` says, where there is one. Both are made from what is
    on disk: writing them again loses nothing. Raises UsageError where the folder cannot be
    written.
    """
    page = report_html(result, manifest=_manifest(run_dir))
    write_texts(run_dir, {SUMMARY: summary_markdown(result), REPORT: page})


def write_texts(run_dir: Path, texts: Mapping[str, str]) -> None:
    """Write texts into a run's folder, by file name. Raises UsageError where that cannot be."""
    for name, text in texts.items():
        path = run_dir / name
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"Cannot write [{path}]: {error.strerror}. Check the folder and its permissions."
            ) from error


def load_result(run_dir: Path) -> Result:
    """The result of a run's folder. Raises UsageError where there is none that can be read."""
    path = run_dir / RESULT
    data = _parsed(path, _text(run_dir, path))
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"[{path}] has schema_version [{version}], this harness reads {SCHEMA_VERSION}. "
            "Read it with the release that wrote it, or run the scenario again."
        )
    try:
        result = Result.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"[{path}] does not fit schema version {SCHEMA_VERSION} in "
            f"{plural(error.error_count(), 'place')}, first at [{place}]: {first['msg']}. "
            "It was changed or cut short; run the scenario again."
        ) from error
    # Runs of older harnesses have a 0 where nobody could see.
    variants = {name: without_unseen(variant) for name, variant in result.variants.items()}
    return result.model_copy(update={"variants": variants})


def resolve_run(name_or_path: str, runs_dir: Path) -> Path:
    """The folder of a run, by its id, by a path to it or to its result, or ``latest``.

    Raises UnknownNameError, which names the nearest run.
    """
    if name_or_path:
        named = runs_dir / name_or_path
        for path in (named, Path(name_or_path)):
            if path.is_dir():
                return path.resolve()
            if path.is_file() and path.name == RESULT:
                return path.parent.resolve()
    known = [*run_ids(runs_dir), *([LATEST] if (runs_dir / LATEST).is_dir() else [])]
    raise UnknownNameError("run", name_or_path, known, f"Runs are looked for in [{runs_dir}].")


def run_ids(runs_dir: Path) -> list[str]:
    """Ids of all runs in a folder that have a result, oldest first; empty without the folder."""
    if not runs_dir.is_dir():
        return []
    return sorted(p.parent.name for p in runs_dir.glob(f"*/{RESULT}") if p.parent.name != LATEST)


def _manifest(run_dir: Path) -> dict[str, Any] | None:
    """What a reader can do without: a manifest that is missing or broken is left out."""
    try:
        data = json.loads((run_dir / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _text(run_dir: Path, path: Path) -> str:
    if not run_dir.is_dir():
        raise UsageError(f"There is no run folder [{run_dir}]. Check the name of the run.")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(
            f"The run [{run_dir}] has no {RESULT}: it ended before it had measured anything. "
            "Its logs say why; run the scenario again."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read [{path}]: {error}. Check the file.") from error


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"[{path}] is not JSON: {error.msg} in line {error.lineno}. "
            "It was changed or cut short; run the scenario again."
        ) from error
