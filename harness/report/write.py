"""Writes a run's reports into its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.archive.directory import REPORT, SUMMARY, load_manifest
from harness.domain.result import Result
from harness.errors import UsageError
from harness.report.html import report_html
from harness.report.markdown import summary_markdown


def write_reports(result: Result, run_dir: Path) -> None:
    """Write ``summary.md`` and ``report.html`` into a run's folder, next to ``result.json``.

    The page includes ``manifest.json`` if there is one. Both are made from files of the run, so
    writing them again loses nothing. Raises UsageError if the folder cannot be written.
    """
    page = report_html(result, manifest=load_manifest(run_dir))
    write_texts(run_dir, {SUMMARY: summary_markdown(result), REPORT: page})


def write_texts(run_dir: Path, texts: Mapping[str, str]) -> None:
    """Write texts into a run's folder, by file name. Raises UsageError if that fails."""
    for name, text in texts.items():
        path = run_dir / name
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"Cannot write [{path}]: {error.strerror}. Check the folder and its permissions."
            ) from error
