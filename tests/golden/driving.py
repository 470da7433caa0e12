"""What a plan makes the load driver do, without servers and without load."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tests.golden import product as p
from tests.golden import stored

PLANS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("smoke", {}),
    ("smoke", {"replicas": 1, "workers": 3, "seed": 7}),
    ("issue-27874", {}),
    ("issue-27874", {"replicas": 8, "workers": 2, "rounds": 2, "premises": False}),
    ("issue-27874", {"time_scale": 1.0, "variants": ("litellm_1_94", "memory_only")}),
    ("no-membership", {"replicas": 3}),
    ("pr-26202", {"workers": 2}),
)
"""Scenario and what the command line changes in it."""
CLOSED_ARRIVALS = 2000
"""Of a closed load, which has no end of its own."""
LOCUST_WORKERS = 3
LOCUST_ARRIVALS = 2000


def commands() -> str:
    """Every command that every plan sends, in its order, each with a hash of its arrivals."""
    return "".join(_title(*plan) + _driven(*plan) for plan in PLANS)


def _title(scenario: str, changes: Mapping[str, Any]) -> str:
    return f"# {scenario} {json.dumps(changes)}\n"


def _driven(scenario: str, changes: Mapping[str, Any]) -> str:
    plan = stored.planned(p.load_scenario(scenario, p.Changes(**changes)))
    lines = []
    for slot in plan.slots:
        hosts = [f"http://{slot.variant}-{n}.invalid" for n in range(plan.scenario.replicas)]
        load = p.commands(plan, slot, hosts, Path("RUN/keys.json"), Path("RUN/samples"))
        for command in (load.warmup, load.window):
            if command is not None:
                fields = command.model_dump(mode="json")
                lines.append(json.dumps({**fields, "arrivals": _arrivals(command, plan)}))
    return "\n".join(lines) + "\n"


def _arrivals(command: p.WindowCommand, plan: p.RunPlan) -> str:
    if command.probe_keys:
        return hashed(
            p.probe_plan(
                [(index, plan.all_keys[index].scope) for index in command.probe_keys],
                every_s=command.probe_every_s,
                duration_s=command.duration_s,
                replicas=len(command.hosts),
                workers=command.workers,
                seed=command.seed,
            )
        )
    keys: dict[str, list[int]] = {}
    for key in plan.refusals if command.refusals else plan.keys:
        keys.setdefault(key.seen_scope, []).append(key.index)
    replicas = len(command.hosts)
    if command.model == "open":
        return hashed(
            p.open_plan(
                command.mix,
                keys,
                rate_per_s=command.rate_per_s,
                duration_s=command.duration_s,
                replicas=replicas,
                seed=command.seed,
                zipf=command.zipf,
            )
        )
    picked = p.choices(command.mix, keys, replicas=replicas, seed=command.seed, zipf=command.zipf)
    return hashed(list(islice(picked, CLOSED_ARRIVALS)))


def hashed(arrivals: list[p.Arrival]) -> str:
    """Number and SHA-256 of arrivals: times, scopes, keys and replicas."""
    digest = hashlib.sha256(json.dumps(arrivals).encode()).hexdigest()
    return f"{len(arrivals)} {digest}"


_LOCUST = f"""
import json
from itertools import islice
from types import SimpleNamespace
import locust
import {p.STANDALONE} as standalone
from {p.LOAD_FLEETS} import LoadFleet
from {p.LOAD_KEYS} import LoadKey
from {p.LOAD_OPTIONS} import Drive

fleets = (LoadFleet("a", ("http://a:1", "http://a:2")), LoadFleet("b", ("http://b:1", "http://b:2")))
keys = tuple(LoadKey(n, "team" if n % 3 else "user", str(n)) for n in range(12))
drive = Drive(fleets, keys, dict(team=2.0, user=1.0), 0.0, "open", 120.0, 1.0, 42)
standalone.read_options = lambda environment: drive
options = SimpleNamespace(**{{standalone.SHARE: {LOCUST_WORKERS}}})
plans = standalone.plans(SimpleNamespace(parsed_options=options))
print(json.dumps([list(islice(plan, {LOCUST_ARRIVALS})) for plan in plans]))
"""


def locust_workers() -> str:
    """What each worker of a Locust with several is to send, in an open load of 120/s in all."""
    # Locust patches the sockets of the process that imports it.
    command = [sys.executable, "-c", _LOCUST]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    plans = [[p.Arrival(*arrival) for arrival in plan] for plan in json.loads(done.stdout)]
    return "".join(f"worker {index}: {hashed(plan)}\n" for index, plan in enumerate(plans))
