"""The text of a ``schema.prisma`` as a tree of blocks and attributes.

Only the syntax, after Prisma's reference of its schema language; meaning is in `reading`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f]+|//[^\n]*)
      | (?P<newline>\n)
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<attribute>@@?[A-Za-z_][\w.]*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<mark>[{}()\[\],:=?!.])""",
    re.VERBOSE,
)


class SchemaSyntaxError(ValueError):
    """The text is no Prisma schema."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word as a value: an enum's member, a field, ``Cascade``."""

    text: str


@dataclass(frozen=True, slots=True)
class CallValue:
    """A call as a value: ``now()``, ``uuid(7)``, ``created_at(sort: Desc)``."""

    name: str
    arguments: tuple[tuple[str | None, Any], ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """``@id``, ``@default(...)``, ``@@unique([...])``: name without the signs, arguments."""

    name: str
    arguments: tuple[tuple[str | None, Any], ...] = ()

    def get(self, name: str, *, first: bool = False) -> Any:
        """The argument called `name`, or with `first` the first one without a name; else None."""
        for given, value in self.arguments:
            if given == name or (first and given is None):
                return value
        return None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a block: a field, an enum's member, or a block attribute (``name`` empty)."""

    name: str
    type: str
    suffix: str
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """``model X { ... }`` and its like."""

    keyword: str
    name: str
    lines: tuple[Line, ...]


def parse(text: str) -> tuple[Block, ...]:
    """All blocks of a schema, in order.

    Raises:
        SchemaSyntaxError: With the line where the text stops being a schema.
    """
    parser = _Parser(list(_tokens(text)))
    blocks = []
    while parser.skip_newlines().kind != "end":
        blocks.append(parser.block())
    return tuple(blocks)


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    line = 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise SchemaSyntaxError(f"line {line}: unexpected [{text[position]}]")
        kind = str(match.lastgroup)
        if kind != "space":
            yield Token(kind, match.group(), line)
        line += kind == "newline"
        position = match.end()
    yield Token("end", "", line)


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _step(self) -> Token:
        token = self._now
        if token.kind == "end":
            raise SchemaSyntaxError(f"line {token.line}: the text ends too early")
        self._at += 1
        return token

    def _take(self, text: str) -> bool:
        if self._now.kind == "mark" and self._now.text == text:
            self._at += 1
            return True
        return False

    def _need(self, what: str, *, kind: str = "mark") -> Token:
        token = self._step()
        if token.kind != kind or (kind == "mark" and token.text != what):
            raise SchemaSyntaxError(f"line {token.line}: expected {what}, found [{token.text}]")
        return token

    def skip_newlines(self) -> Token:
        while self._now.kind == "newline":
            self._at += 1
        return self._now

    def block(self) -> Block:
        keyword = self._need("a block", kind="name").text
        name = self._need("a name", kind="name").text
        self._need("{")
        lines = []
        while self.skip_newlines().text != "}":
            # Settings of datasources and generators mean nothing here.
            if keyword in {"datasource", "generator"}:
                self._rest_of_line()
            else:
                lines.append(self._line())
        self._need("}")
        return Block(keyword, name, tuple(lines))

    def _rest_of_line(self) -> None:
        depth = 0
        while depth or (self._now.kind not in {"newline", "end"} and self._now.text != "}"):
            token = self._step()
            depth += (token.text in {"[", "("}) - (token.text in {"]", ")"})

    def _line(self) -> Line:
        name = kind = suffix = ""
        if self._now.kind == "name":
            name = self._step().text
            if self._now.kind == "name":
                kind, suffix = self._type()
        attributes = []
        while self._now.kind == "attribute":
            attributes.append(self._attribute())
        if self._now.kind != "newline" and self._now.text != "}":
            raise SchemaSyntaxError(f"line {self._now.line}: unexpected [{self._now.text}]")
        return Line(name, kind, suffix, tuple(attributes))

    def _type(self) -> tuple[str, str]:
        kind = self._step().text
        if self._take("("):
            # Unsupported("tsvector") and its like.
            self._value()
            self._need(")")
        suffix = ""
        if self._take("["):
            self._need("]")
            suffix = "[]"
        if self._take("?"):
            suffix += "?"
        return kind, suffix

    def _attribute(self) -> Attribute:
        name = self._step().text.lstrip("@")
        return Attribute(name, self._arguments() if self._take("(") else ())

    def _arguments(self) -> tuple[tuple[str | None, Any], ...]:
        arguments = []
        while self.skip_newlines().text != ")":
            arguments.append(self._argument())
            self.skip_newlines()
            if not self._take(","):
                break
        self.skip_newlines()
        self._need(")")
        return tuple(arguments)

    def _argument(self) -> tuple[str | None, Any]:
        if self._now.kind == "name" and self._tokens[self._at + 1].text == ":":
            name = self._step().text
            self._step()
            self.skip_newlines()
            return name, self._value()
        return None, self._value()

    def _value(self) -> Any:
        token = self._step()
        if token.kind == "string":
            return json.loads(token.text)
        if token.kind == "number":
            return float(token.text) if "." in token.text else int(token.text)
        if token.text == "[":
            return self._list()
        if token.kind != "name":
            raise SchemaSyntaxError(f"line {token.line}: expected a value, found [{token.text}]")
        if token.text in {"true", "false"}:
            return token.text == "true"
        if self._take("("):
            return CallValue(token.text, self._arguments())
        return Name(token.text)

    def _list(self) -> tuple[Any, ...]:
        values = []
        while self.skip_newlines().text != "]":
            values.append(self._value())
            self.skip_newlines()
            if not self._take(","):
                break
        self.skip_newlines()
        self._need("]")
        return tuple(values)
