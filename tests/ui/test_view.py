"""What the page is given."""

from __future__ import annotations

import json
import subprocess
import sys

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
from harness.ui.tally import FleetTally
from harness.ui.view import render
from harness.ui.watcher import Watch

fleets = tuple(LoadFleet(name, ("http://127.0.0.1:1",)) for name in sys.argv[1:])
drive = Drive(fleets, (), {"team": 1.0}, 0.0, "open", 1.0, 1.0, 0)
watch = Watch(drive, FleetTally(), History(), began=0.0, number=1, before=LoadCounts(), ended=1.0)
shown = render(watch, LoadCounts(), None, "", -1)
print(json.dumps([(one["name"], one["mark"]) for one in shown["variants"]]))
"""


@pytest.mark.parametrize("names", [("recommended", "litellm_1_84"), ("mine", "envelope", "")])
def test_a_variant_has_the_colour_of_its_name(names: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == [[name, mark] for name, mark in marks(names).items()]
