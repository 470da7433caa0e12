"""What a person can send by the start form."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from harness.domain.population import VirtualKey
from harness.errors import UsageError
from harness.load.options import Drive, check_options
from harness.ui.form import check_form

SCOPES = ("team", "user", "shared_id", "member")
FORM = {
    "user_count": "8",
    "spawn_rate": "8",
    "host": "a+b",
    "preset": "none",
    "fleet": "all",
    "load_model": "open",
    "arrival_rate": "100",
    "mix": "team=1",
    "zipf": "0",
    "rate": "1",
    "seed": "42",
}


@pytest.fixture
def current(keys_file: Path) -> dict[str, Any]:
    return {
        "hosts": "a=http://127.0.0.1:1;b=http://127.0.0.1:2",
        "keys_file": str(keys_file),
        "fleet": "all",
        "load_model": "open",
        "arrival_rate": 100.0,
        "mix": "team=1",
        "zipf": 0.0,
        "rate": 1.0,
        "seed": 42,
        "metrics": "",
        "html_file": None,
    }


def check(current: dict[str, Any], running: bool = False, /, **form: str) -> Drive:
    found: list[Drive] = []

    def drivable(options: Namespace) -> None:
        found.append(check_options(options, None, SCOPES))

    check_form(current, {**FORM, **form}, running=running, drivable=drivable)
    return found[0]


def test_the_form_as_it_stands_can_be_driven(current: dict[str, Any]) -> None:
    form = {"arrival_rate": "250.5", "mix": "team=3,user=2", "zipf": "1.1", "seed": "7"}
    drive = check(current, fleet="b", **form)
    assert [fleet.name for fleet in drive.fleets] == ["b"]
    assert (drive.arrival_rate, drive.zipf, drive.seed) == (250.5, 1.1, 7)
    assert drive.mix == {"team": 3.0, "user": 2.0}
    assert current["fleet"] == "all", "looking changes nothing"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"arrival_rate": "-5"}, r"The rate of an open load is \[-5.0\]/s. Give a positive"),
        ({"arrival_rate": "nan"}, r"\[nan\]/s"),
        ({"arrival_rate": "many"}, r"Arrival rate is \[many\], which is no number. .* e.g. 100"),
        ({"arrival_rate": ""}, r"Arrival rate is \[\], which is no number"),
        ({"load_model": "closed", "rate": "0"}, r"The rate is \[0.0\]"),
        ({"zipf": "-1"}, r"exponent of the keys' popularity is \[-1.0\]. Give 0"),
        ({"seed": "1.5"}, r"Seed is \[1.5\]"),
        ({"mix": "tema=1"}, r"Did you mean \[team\]\?"),
        ({"mix": "team=0,user=0"}, r"The weight of scope \[team\] is \[0\]"),
        ({"load_model": "half"}, r"There is no load model \[half\]"),
        ({"fleet": "c"}, r"There is no fleet \[c\]"),
        ({"user_count": "0"}, r"Number of users is \[0\]. Give a number above 0"),
        ({"user_count": ""}, r"Number of users is \[\]"),
        ({"spawn_rate": "-1"}, r"Ramp up is \[-1\]"),
        ({"hosts": "http://192.0.2.1"}, r"\[Hosts\] was given on the command line"),
        ({"keys_file": "/etc/passwd"}, r"\[Keys file\] was given on the command line"),
        ({"metrics": "http://192.0.2.1"}, r"cannot change the option \[metrics\]"),
        ({"html_file": "x.html"}, r"cannot change the option \[html_file\]"),
    ],
)
def test_bad_input_is_a_sentence_that_says_what_to_do(
    current: dict[str, Any], form: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check(current, **form)


def test_hosts_and_keys_can_be_filled_in_where_none_were_given(current: dict[str, Any]) -> None:
    keys_file = current["keys_file"]
    current |= {"hosts": "", "keys_file": ""}
    drive = check(current, hosts="http://127.0.0.1:9", keys_file=keys_file)
    assert drive.fleets[0].hosts == ("http://127.0.0.1:9",)


def test_a_running_load_can_only_change_its_users(current: dict[str, Any]) -> None:
    check(current, True, user_count="16")
    with pytest.raises(UsageError, match=r"\[Arrival rate, Mix\] cannot be changed while"):
        check(current, True, arrival_rate="300", mix="user=1")


def test_keys_must_have_the_scopes_of_the_mix(
    current: dict[str, Any], tmp_path: Path, keys: list[VirtualKey]
) -> None:
    few = tmp_path / "few.json"
    few.write_text('[{"index": 0, "scope": "user", "secret": "sk-1"}]')
    with pytest.raises(UsageError, match=r"scope \[team\], but the keys file has no key of it"):
        check({**current, "keys_file": str(few)})
    assert keys
