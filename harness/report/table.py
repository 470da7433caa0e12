"""A table before it is drawn, for all three kinds of report.

Each table has one builder and three renderers, so terminal, Markdown and HTML cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.domain.faults import Verdict

Tone = Literal["", "hidden", "broken", "stale", "wasteful", "healthy", "quiet", "strong", Verdict]
"""Colour of a cell, in addition to its text. ``quiet`` is faint, ``strong`` is bold; what a fault
did has the colours of the cells."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One field. ``note`` is the smaller second line; ``more`` follows the text after a comma."""

    text: str
    note: str = ""
    tone: Tone = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading. ``numeric`` columns are set right-aligned; ``note`` explains the label."""

    label: str
    note: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """A row with its heading. A ``reference`` row is drawn apart: it is not a measurement."""

    head: Cell
    cells: tuple[Cell, ...]
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; ``corner`` is the heading of the row headings."""

    name: str
    """Unique within a report; an id in HTML."""
    caption: str
    corner: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    foot: str = ""
    code: bool = field(default=True)
    """Whether the row headings are names from code."""

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row.cells) == len(self.columns), (self.name, row.head.text)

    def narrowed(self, columns: Sequence[int]) -> Table:
        """The same table with only these columns."""
        return Table(
            self.name,
            self.caption,
            self.corner,
            tuple(self.columns[i] for i in columns),
            tuple(Row(r.head, tuple(r.cells[i] for i in columns), r.reference) for r in self.rows),
            self.foot,
            self.code,
        )


def cells(texts: Iterable[str]) -> tuple[Cell, ...]:
    """Plain fields."""
    return tuple(Cell(text) for text in texts)


def columns(labels: Iterable[str], *, numeric: bool = True) -> tuple[Column, ...]:
    """Plain headings."""
    return tuple(Column(label, numeric=numeric) for label in labels)
