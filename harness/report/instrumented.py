"""Texts of a report for points of a release that were not instrumented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.points import missing, unseen
from harness.domain.result import Result, VariantResult
from harness.report.numbers import NOT_MEASURED
from harness.report.table import Cell

NOTE = "not measured"
"""Note for a figure that was not measured."""


def not_instrumented(result: Result) -> list[str]:
    """One line for each variant in which a point was not instrumented."""
    return [
        f"{points_line(name, variant.not_instrumented)} {_reasons(variant)}{_consequence(variant)}"
        for name, variant in result.variants.items()
        if variant.not_instrumented
    ]


def points_line(name: str, points: Sequence[str]) -> str:
    """The points of a variant that were not instrumented, as a sentence."""
    return f"Not instrumented in {name}: {', '.join(points)}."


def noted(cell: Cell, variant: VariantResult, measure: str) -> Cell:
    """A cell, with the note below its dash if the measure was not seen in this variant.

    Args:
        cell: made from the figures of the result.
        variant: the variant of the figure.
        measure: its name in `harness.analysis.points`.
    """
    if cell.text == NOT_MEASURED and missing(variant, measure):
        return replace(cell, note=NOTE, tone="quiet")
    return cell


def _reasons(variant: VariantResult) -> str:
    reasons = variant.not_instrumented_because.items()
    told = "; ".join(f"{point}: {reason}" for point, reason in reasons)
    return f"Why: {told}. " if told else ""


def _consequence(variant: VariantResult) -> str:
    lost = unseen(variant)
    if not lost:
        return "No figure is missing because of this."
    if "source_reads" in lost:
        lost.remove("source_reads_by_scope")
    names = [name.replace("_", " ") for name in lost]
    if variant.cells:
        names = ["cells that are not broken" if name == "cells" else name for name in names]
    return f"Not measured: {', '.join(names)}."
