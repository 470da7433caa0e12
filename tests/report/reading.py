"""Reads reports back: HTML tables with the standard library's parser, and Markdown tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "rect", "path", "circle", "line", "input", "hr", "img", "link"}


@dataclass
class ReadTable:
    """Texts of one table; the first column holds the row headings."""

    caption: str = ""
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def cell(self, row: str, column: str) -> str:
        """The field whose row heading and column heading begin with these words."""
        at = next(i for i, text in enumerate(self.head) if words(text).startswith(column))
        return next(r for r in self.rows if words(r[0]).startswith(row))[at]


def words(text: str) -> str:
    """Text with its white space made even."""
    return " ".join(text.split())


class Page(HTMLParser):
    """A parsed page: its elements, its tables by id, and whether its elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, ReadTable] = {}
        self.open: list[str] = []
        self.text: list[str] = []
        self._table: ReadTable | None = None
        self._sink: list[str] | None = None
        self.feed(text)
        self.close()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = ReadTable()
            self.tables[str(attributes.get("id"))] = self._table
        elif tag == "br" and self._sink is not None:
            self._sink.append("\n")
        elif tag == "small" and self._sink is not None:
            self._sink.append(" | ")
        elif tag == "tr" and self._table is not None:
            self._table.rows.append([])
        elif tag in ("th", "td", "caption"):
            self._sink = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._sink is not None:
            self._sink.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        if self._table is None:
            return
        if tag in ("th", "td", "caption") and self._sink is not None:
            text = "".join(self._sink).strip()
            if tag == "caption":
                self._table.caption = text
            else:
                self._table.rows[-1].append(text)
            self._sink = None
        elif tag == "thead":
            self._table.head = self._table.rows.pop()
        elif tag == "table":
            self._table = None


def markdown_tables(text: str) -> list[ReadTable]:
    """Every pipe table; fails where a row has another number of fields than its heading."""
    tables: list[ReadTable] = []
    table: ReadTable | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            table = None
            continue
        fields = [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]
        if table is None:
            table = ReadTable(head=fields)
            tables.append(table)
        elif set(line) <= set("|:- "):
            assert len(fields) == len(table.head), line
            assert all(re.fullmatch(r":?-{3,}:?", part) for part in fields), line
        else:
            assert len(fields) == len(table.head), line
            table.rows.append([part.strip("`*") for part in fields])
    return tables
