"""What the page and its download are given."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest

from harness.style import marks

# In a process of its own: Locust patches the sockets of the one that imports it.
SCRIPT = """
import json, sys
import locust
from harness.load.counts import LoadCounts
from harness.load.fleets import LoadFleet
from harness.load.options import Drive
from harness.ui.history import History
from harness.ui.sources import Place, Reading
from harness.ui.table import write_csv
from harness.ui.tally import FleetTally
from harness.ui.view import render
from harness.ui.watcher import Watch
from tests.ui.pages import page

def shown(driven, read):
    fleets = tuple(LoadFleet(name, ("http://127.0.0.1:1",)) for name in driven)
    drive = Drive(fleets, (), {"team": 1.0}, 0.0, "open", 1.0, 1.0, 0)
    tally, history, load = FleetTally(), History(), LoadCounts()
    tally.note(Reading([page(Place(name, name, 0, 0)) for name in read], []))
    for name in driven:
        load.ended(name, "team", 200, "")
        load.ended(name, "team", 0, "timeout")
    watch = Watch(drive, tally, history, began=0.0, number=1, before=LoadCounts(), ended=1.0)
    return render(watch, load, None, "", -1)["variants"], write_csv(tally, load)

print(json.dumps([shown(*names) for names in json.loads(sys.argv[1])]))
"""


def shown(*cases: tuple[tuple[str, ...], tuple[str, ...]]) -> list[tuple[list[Any], str]]:
    """Variants and download, with an answer and a time-out of each fleet that is driven.

    Args:
        cases: the fleets that are driven, and those that a source names.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        check=True,
        capture_output=True,
        text=True,
    )
    return [(variants, table) for variants, table in json.loads(done.stdout)]


@pytest.mark.integration  # a whole Locust
def test_a_variant_has_the_colour_of_its_name() -> None:
    pages = [("recommended", "litellm_1_84"), ("mine", "envelope", "")]
    found = shown(*((names, ()) for names in pages))
    assert [[(one["name"], one["mark"]) for one in variants] for variants, _ in found] == [
        list(marks(names).items()) for names in pages
    ]


def test_a_fleet_without_a_name_is_the_only_one_that_is_read() -> None:
    cases: list[tuple[str, tuple[str, ...], dict[str, int], str]] = [
        ("", ("recommended",), {"recommended": 1}, "recommended"),
        ("", (), {"": 1}, ""),
        # It could be either of them.
        ("", ("recommended", "envelope"), {"recommended": 0, "envelope": 0}, ""),
        ("other", ("recommended",), {"recommended": 0}, "other"),
    ]
    found = shown(*(((driven,), read) for driven, read, _, _ in cases))
    for (_, _, requests, known), (variants, table) in zip(cases, found, strict=True):
        assert {one["name"]: one["scopes"]["all"]["requests"] for one in variants} == requests
        for one in variants:
            assert one["scopes"].get("team", {}).get("requests", 0) == requests[one["name"]]
        rows = list(csv.DictReader(StringIO(table)))
        assert [(row["metric"], row["variant"]) for row in rows] == [
            ("generator_answered", known),
            ("generator_unanswered", known),
        ]
