"""Presets and the reference line's parts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.load.mix import parse_mix
from harness.scenario.loader import load_scenario, scenario_names
from harness.ui.options import parse_reference
from harness.ui.presets import preset_of, presets


def test_every_built_in_scenario_is_a_preset_that_can_be_parsed() -> None:
    assert presets().keys() == scenario_names().keys()
    for name, preset in presets().items():
        load = load_scenario(name).load
        assert parse_mix(preset.mix) == load.mix
        assert preset.users == load.users
        assert preset.fields()["zipf"] == load.zipf
        assert preset.fields().get("arrival_rate", 0.0) == load.rate_per_s


def test_a_closed_scenario_leaves_the_arrival_rate_alone() -> None:
    assert "arrival_rate" not in preset_of(load_scenario("pr-26202")).fields()


def test_a_reference_has_a_ttl_and_objects() -> None:
    reference = parse_reference("2;team=9,user=6")
    assert reference is not None
    assert (reference.ttl_s, reference.objects) == (2.0, {"team": 9.0, "user": 6.0})
    assert parse_reference("") is None


@pytest.mark.parametrize("text", ["team=9", "0;team=9", "2;tema=9", "nan;team=9"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)


@pytest.mark.integration  # a whole command
def test_starting_the_web_ui_does_not_load_locust() -> None:
    # which would patch the sockets under asyncio's feet
    code = (
        "import sys, harness.cli.commands.ui, harness.live.web; "
        "sys.exit('gevent.monkey' in sys.modules or 'locust' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
