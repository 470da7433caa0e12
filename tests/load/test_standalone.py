"""Locust by itself: what each of its processes is to send."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.domain.population import by_scope, read_keys
from harness.load.plan import Arrival, open_stream

SEED, RATE, PROCESSES, FIRST, ZIPF = 7, 90.0, 3, 50, 1.1

# Importing Locust patches the whole process, so a process of its own imports it.
PROGRAM = f"""
import itertools, json, sys
from argparse import Namespace
from locust.env import Environment
from locust.runners import WorkerRunner
from harness.load import standalone
from harness.load.users import TeamKeyUser

class Worker(WorkerRunner):
    def __init__(self, index): self.worker_index = index
    def __del__(self): pass

for model in ("open", "closed"):
    options = Namespace(
        hosts="http://127.0.0.1:1,http://127.0.0.1:2", keys_file=sys.argv[1], fleet="all",
        load_model=model, arrival_rate={RATE}, mix="team=3,user=2", zipf={ZIPF}, rate=1.0,
        seed={SEED}, load_workers={PROCESSES},
    )
    environment = Environment(parsed_options=options, user_classes=[TeamKeyUser])
    said = {{"due": standalone.plans(environment), "fed": []}}
    for index in range({PROCESSES} if said["due"] else 0):
        environment.runner = Worker(index)
        standalone.configure(environment)
        said["fed"].append(standalone._DRIVING[environment].feed._source)
    environment.runner = None
    print(json.dumps({{k: [list(itertools.islice(p, {FIRST})) for p in v] for k, v in said.items()}}))
"""  # noqa: E501 - a line of the program


def _said(keys_file: Path) -> list[dict[str, list[list[Arrival]]]]:
    """What is due and what is fed: of the open model, then of the closed one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(keys_file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [
        {key: [[Arrival(*one) for one in plan] for plan in plans] for key, plans in said.items()}
        for said in map(json.loads, done.stdout.splitlines())
    ]


@pytest.mark.integration  # a whole Locust
def test_each_worker_sends_its_share_of_the_rate_by_a_seed_of_its_own(keys_file: Path) -> None:
    """Both what is due and what a worker's users are fed; a closed load has no plan."""
    said, closed = _said(keys_file)
    assert closed == {"due": [], "fed": []}
    assert said["due"] == said["fed"]
    plans = said["due"]
    assert len(plans) == PROCESSES
    for one, other in itertools.combinations(plans, 2):
        # Neither at the same moments, nor for the same keys in the same order.
        assert {a.intended_s for a in one}.isdisjoint(a.intended_s for a in other)
        assert [a.key for a in one] != [a.key for a in other]
    for index, plan in enumerate(plans):
        stream = open_stream(
            {"team": 3.0, "user": 2.0},
            by_scope(read_keys(keys_file)),
            rate_per_s=RATE / PROCESSES,
            replicas=2,
            seed=SEED + index,
            zipf=ZIPF,
        )
        assert plan == list(itertools.islice(stream, FIRST))
