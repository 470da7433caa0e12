"""What the page is given."""

from __future__ import annotations

import json
import subprocess
import sys

from harness.style import marks

# In a process of its own: Locust patches the sockets of the one that imports it.
SCRIPT = """
import json, sys
import locust
from harness.load.counts import LoadCounts
from harness.load.fleets import LoadFleet
from harness.load.options import Drive
from harness.ui.history import History
from harness.ui.tally import FleetTally
from harness.ui.view import render
from harness.ui.watcher import Watch

def shown(names):
    fleets = tuple(LoadFleet(name, ("http://127.0.0.1:1",)) for name in names)
    drive = Drive(fleets, (), {"team": 1.0}, 0.0, "open", 1.0, 1.0, 0)
    tally, history, before = FleetTally(), History(), LoadCounts()
    watch = Watch(drive, tally, history, began=0.0, number=1, before=before, ended=1.0)
    page = render(watch, LoadCounts(), None, "", -1)
    return [(one["name"], one["mark"]) for one in page["variants"]]

print(json.dumps([shown(names) for names in json.loads(sys.argv[1])]))
"""


def test_a_variant_has_the_colour_of_its_name() -> None:
    pages = [("recommended", "litellm_1_84"), ("mine", "envelope", "")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(pages)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == [
        [[name, mark] for name, mark in marks(names).items()] for names in pages
    ]
