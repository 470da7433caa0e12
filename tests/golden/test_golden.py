"""Golden records: what the product does today, to the byte.

A move of modules leaves them as they are. A change on purpose writes them anew, in a commit of its
own: ``make golden``.
"""

from __future__ import annotations

import difflib
import lzma
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.golden import describing, driving, reporting, stored

RECORDS = Path(__file__).resolve().parent / "records"
WRITE = os.environ.get("WRITE_GOLDEN") == "1"
PACKED = ".xz"
_LARGE = 20_000
"""Bytes from which on a record is kept compressed."""
_SHOWN = 60
"""Lines of a difference that a failure shows."""
_LINE = 120
"""Characters from which on a failure breaks a line up: many records have few lines."""
_BREAK = re.compile(r"(?<=[>,{\[]) ?")
Maker = Callable[[Path], Iterator[tuple[str, str]]]


def _one(name: str, make: Callable[[Path], str]) -> Maker:
    def pairs(folder: Path) -> Iterator[tuple[str, str]]:
        yield name, make(folder)

    return pairs


MAKERS: dict[str, Maker] = {
    "commands": _one("commands.jsonl", lambda _: driving.commands()),
    "locust-workers": _one("locust-workers.txt", lambda _: driving.locust_workers()),
    "exit-codes": _one("exit-codes.txt", describing.exit_codes),
    "help": _one("help.txt", lambda _: describing.helps()),
    "variables": _one("variables.txt", lambda _: describing.variables()),
    "series": _one("series.txt", lambda _: describing.series()),
    "dashboards": _one("dashboards.txt", lambda _: describing.dashboards()),
    **{
        f"result-{name}": _one(f"result-{name}.json", partial(reporting.result, name))
        for name in stored.names()
        if "windows" in stored.load(name)
    },
    **{name: partial(reporting.command, name) for name in reporting.COMMANDS},
}


def _recorded(name: str) -> str | None:
    plain, packed = RECORDS / name, RECORDS / (name + PACKED)
    if packed.is_file():
        return lzma.decompress(packed.read_bytes()).decode()
    return plain.read_text(encoding="utf-8") if plain.is_file() else None


def _write(name: str, text: str) -> None:
    for path in (RECORDS / name, RECORDS / (name + PACKED)):
        path.unlink(missing_ok=True)
    data = text.encode()
    if len(data) < _LARGE:
        (RECORDS / name).write_bytes(data)
    else:
        packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
        (RECORDS / (name + PACKED)).write_bytes(packed)


def difference(name: str, then: str, now: str) -> str:
    """The first lines that differ, and how to take the new text over."""
    lines = list(
        difflib.unified_diff(_broken_up(then), _broken_up(now), "recorded", "now", n=1, lineterm="")
    )
    more = [f"… and {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
    head = f"The golden record [{name}] differs. If that is on purpose: make golden, and commit."
    return "\n".join([head, *lines[:_SHOWN], *more])


def _broken_up(text: str) -> list[str]:
    return [
        part
        for line in text.splitlines()
        for part in (_BREAK.split(line) if len(line) > _LINE else [line])
    ]


def _records(maker: str) -> dict[str, Path]:
    """Files of one maker, by the name of the record. A record's name begins with its maker's."""
    paths = (path for path in RECORDS.iterdir() if path.name.partition(".")[0] == maker)
    return {path.name.removesuffix(PACKED): path for path in paths}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_record_is_what_the_product_does(maker: str, tmp_path: Path) -> None:
    left = _records(maker)
    for name, now in MAKERS[maker](tmp_path):
        left.pop(name, None)
        then = _recorded(name)
        if then == now:
            continue
        if WRITE:
            _write(name, now)
            continue
        assert then is not None, f"There is no golden record [{name}]. Write it: make golden."
        pytest.fail(difference(name, then, now), pytrace=False)
    if WRITE:
        for path in left.values():
            path.unlink()
    else:
        assert not left, "Records that are no longer made; make golden removes them."


def test_every_record_has_a_maker() -> None:
    assert {path.name.partition(".")[0] for path in RECORDS.iterdir()} <= MAKERS.keys()


def test_a_difference_names_the_record_the_line_and_the_way_out() -> None:
    long = "<p>same</p>" * 100
    text = difference("x.html", f"a\n{long}<i>b</i>\n", f"a\n{long}<i>c</i>\n")
    assert "[x.html]" in text
    assert "make golden" in text
    assert len(text) < 500
    assert "-b</i>" in text.splitlines()
    assert "+c</i>" in text.splitlines()
