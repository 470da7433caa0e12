"""Faults in a scenario file: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import ScenarioError
from harness.scenario.loader import Changes, load_scenario

HEAD = """
name = "mine"
title = "Mine"
replicas = 2
ttl_s = 1.0
variants = ["recommended"]
population = { user = 1 }
"""
LOAD = "load = { rate_per_s = 40, users = 400, mix = { user = 1 } }\n"
HANG = '[[fault]]\nwhat = "redis-hang"\nfor_s = 2.0\n'


def _load(tmp_path: Path, text: str, changes: Changes | None = None) -> Any:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(str(path), changes)


def test_a_scenario_without_faults_has_none(tmp_path: Path) -> None:
    assert _load(tmp_path, HEAD + LOAD).fault == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            'what = "redis-hangs"\nfor_s = 1.0',
            r"no fault \[redis-hangs\]. Did you mean \[redis-hang\]",
        ),
        (
            'what = "postgres-lag"\nfor_s = 1.0',
            r"\[postgres-lag\] cannot be planted: no stack starts a read replica",
        ),
        ('what = "redis-hang"', "for_s: Field required"),
        ('what = "redis-hang"\nfor_s = 0.0', r"for_s \[0.0\]"),
        ('what = "redis-hang"\nfor_s = 1.0\nuntil_s = 3', "until_s: there is no such field"),
        ('what = "redis-slow"\nfor_s = 1.0', "redis-slow needs delay_ms > 0"),
        ('what = "postgres-slow"\nfor_s = 1.0', "postgres-slow needs delay_ms > 0"),
        ('what = "replica-clock"\nfor_s = 1.0', "replica-clock needs skew_s"),
        (
            'what = "redis-poison"\nfor_s = 1.0\nentry = "odd"',
            r"entry \[odd\] is none of other_type, truncated, empty, foreign, large",
        ),
        (
            'what = "replica-term"\nfor_s = 1.0\nreplica = 2',
            r"replica \[2\] does not exist; 2 are started",
        ),
    ],
)
def test_a_fault_that_means_nothing_is_refused(tmp_path: Path, fault: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        _load(tmp_path, f"{HEAD}{LOAD}[[fault]]\n{fault}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'load = { model = "closed", users = 4, mix = { user = 1 } }\n' + HANG,
            "a fault needs an open load",
        ),
        (LOAD + "[faults]\nalone = true\n", r"no \[\[fault\]\]: add one"),
        (
            LOAD + '[faults]\nchanges = [{ action = "key-block", scope = "user" }]\n',
            r"no \[\[fault\]\]",
        ),
        (
            LOAD + '[faults]\nchanges = [{ action = "team-block", scope = "user" }]\n' + HANG,
            "keys of scope .user. have none",
        ),
        (
            LOAD + '[faults]\nchanges = [{ action = "key-block", scope = "team" }]\n' + HANG,
            "scopes that load.mix leaves out: team",
        ),
        (LOAD + '[faults]\nbalancer = "clever"\n' + HANG, r"balancer \[clever\]"),
        (LOAD + "[faults]\ntail_s = 2.0\n" + HANG, r"tail_s \[2.0\]"),
    ],
)
def test_a_window_of_faults_that_means_nothing_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        _load(tmp_path, HEAD + text)


def test_a_replica_that_ends_needs_another(tmp_path: Path) -> None:
    text = f'{HEAD}{LOAD}[[fault]]\nwhat = "replica-kill"\nfor_s = 1.0\n'
    assert _load(tmp_path, text).fault
    with pytest.raises(ScenarioError, match="needs a second replica"):
        _load(tmp_path, text, Changes(replicas=1))


def test_releases_have_their_own_time_to_start(tmp_path: Path) -> None:
    text = f"{HEAD}{LOAD}{HANG}[faults]\ntail_s = 4.0\n[with_releases]\nstart_s = 30.0\n"
    assert _load(tmp_path, text).faults.start_s == 3.0
    found = _load(tmp_path, text, Changes(variants=("litellm==1.92.2",)))
    assert (found.faults.start_s, found.faults.tail_s) == (30.0, 4.0)
