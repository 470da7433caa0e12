"""Draws a `Table` in a terminal, in as many pieces as its width needs."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from rich import box
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from harness.report.table import Cell, Table, Tone

MAX_WIDTH = 100
_MORE_WIDTH = 12
TONES: dict[Tone, str] = {
    "": "",
    "quiet": "dim",
    "strong": "bold",
    "broken": "bold red",
    "hidden": "bold magenta",
    "stale": "bold blue",
    "wasteful": "bold yellow",
    "healthy": "green",
    "wrong": "bold magenta",
    "invalid": "bold red",
    "outage": "bold red",
    "degraded": "bold yellow",
    "unaffected": "green",
}


def page_width(console: Console) -> int:
    """Width of a report in columns: that of the console, at most 100."""
    return min(console.width, MAX_WIDTH)


def say(console: Console, text: str, style: str = "", indent: int = 0) -> None:
    """Print text wrapped to the page, without reading markup in it."""
    width = page_width(console) - indent
    for line in Text(text, style=style).wrap(console, width):
        line.pad_left(indent)
        line.rstrip()
        console.print(line, width=page_width(console))


def draw(console: Console, table: Table, *, notes: bool = True) -> None:
    """Print a table; one that is too wide is split by columns."""
    console.print()
    say(console, table.caption, "bold")
    for number, piece in enumerate(_pieces(console, table, notes=notes)):
        if number:
            console.print()
        console.print(_grid(piece, notes=notes), width=page_width(console))
    if table.foot:
        say(console, table.foot, "dim")


def _pieces(console: Console, table: Table, *, notes: bool) -> Iterator[Table]:
    width = page_width(console)
    # A measurement is cut off at the console's own width; it must be able to exceed the page.
    endless = console.options.update(width=10_000)
    chosen: list[int] = []
    for i in range(len(table.columns)):
        wider = [*chosen, i]
        grid = _grid(table.narrowed(wider), notes=notes)
        if chosen and Measurement.get(console, endless, grid).maximum > width:
            yield table.narrowed(chosen)
            wider = [i]
        chosen = wider
    yield table.narrowed(chosen)


def _grid(table: Table, *, notes: bool) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    grid.add_column(table.corner, overflow="fold")
    for column in table.columns:
        justify: JustifyMethod = "right" if column.numeric else "left"
        grid.add_column(column.label, justify=justify, overflow="fold")
    for row in table.rows:
        style = "italic" if row.reference else ""
        head = _text(row.head, notes=False)
        grid.add_row(head, *(_text(cell, notes=notes) for cell in row.cells), style=style)
    return grid


def _text(cell: Cell, *, notes: bool) -> Text:
    text = Text(cell.text, style=TONES[cell.tone])
    if cell.more:
        # Lines of a few words keep the column as narrow as its text.
        text.append(",\n" + "\n".join(wrap(cell.more, _MORE_WIDTH)), style="dim")
    if notes and cell.note:
        text.append(f"\n{cell.note}", style="dim")
    return text
