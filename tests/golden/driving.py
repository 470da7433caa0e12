"""What a plan makes the load driver do, without servers and without load."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.experiment.silence import Silence
from tests.golden import product as p

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
_NOTHING = dict.fromkeys(p.ObjectKind, 0)


def commands() -> str:
    """Every command that every plan sends, in its order, each with a hash of its arrivals."""
    return "".join(_title(*plan) + _driven(*plan) for plan in PLANS)


def _title(scenario: str, changes: Mapping[str, Any]) -> str:
    return f"# {scenario} {json.dumps(changes)}\n"


def _driven(scenario: str, changes: Mapping[str, Any]) -> str:
    loaded = p.load_scenario(scenario, p.Changes(**changes))
    # A checkpoint is waited for by the clock; no command hangs on it.
    load = loaded.load.model_copy(update={"checkpoints_ttls": []})
    loaded = loaded.model_copy(update={"load": load})
    variants = p.pick(p.load_variants(), loaded.variants)
    plan = p.make_plan(loaded, [p.reference_arm(v) for v in variants], stack="none")
    with tempfile.TemporaryDirectory() as folder:
        lines = asyncio.run(_record(plan, Path(folder)))
        return "".join(line.replace(folder, "RUN") + "\n" for line in lines)


async def _record(plan: p.RunPlan, run_dir: Path) -> list[str]:
    driver = _Driver()
    nothing = mock.AsyncMock()
    with (
        mock.patch.multiple(
            p.record_module,
            LoadDriver=lambda _log: driver,
            watch=_watch,
            seed_population=nothing,
            beside=_beside,
        ),
        mock.patch.object(p.measure_module, "truth", mock.AsyncMock(return_value={})),
    ):
        done = await p.record(plan, _Stack, run_dir, Silence(), p.Stop())
    assert done.complete, done.problem
    assert len(done.windows) == len(plan.slots)
    return driver.lines


class _Driver:
    """In place of the load driver: writes down what it is told, and answers that nothing came."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def window(
        self, command: p.WindowCommand, on_progress: Callable[[Any], None] | None = None
    ) -> p.WindowResult:
        del on_progress
        fields = command.model_dump(mode="json")
        self.lines.append(json.dumps({**fields, "arrivals": _arrivals(command)}))
        return p.WindowResult(
            window=command.window, planned=0, sent=0, answered=0, unanswered={}, late=0,
            delay_ms_max=0.0, statuses={}, cost_micro=0, served=[], replicas=[],
            elapsed_s=0.0, cpu_s=0.0,
        )  # fmt: skip


def _arrivals(command: p.WindowCommand) -> str:
    keys: dict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(p.read_keys(Path(command.keys_file))):
        keys[key.scope].append(index)
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
            )
        )
    picked = p.choices(command.mix, keys, replicas=replicas, seed=command.seed)
    return hashed(list(islice(picked, CLOSED_ARRIVALS)))


def hashed(arrivals: list[p.Arrival]) -> str:
    """Number and SHA-256 of arrivals: times, scopes, keys and replicas."""
    digest = hashlib.sha256(json.dumps(arrivals).encode()).hexdigest()
    return f"{len(arrivals)} {digest}"


class _Stack:
    """A stack whose fleets are names and addresses."""

    name = "none"
    problems: list[str] = []  # noqa: RUF012 - nothing is added

    async def open(self) -> None:
        pass

    async def start(self, spec: p.FleetSpec) -> p.Fleet:
        urls = tuple(f"http://{spec.name}-{n}.invalid" for n in range(spec.replicas))
        dsn = "postgresql://none.invalid/none"
        return p.Fleet(spec, urls, (), (), dsn, dsn, None, counts_statements=False)

    async def died(self) -> str:
        return await asyncio.Future()

    def resource_use(self) -> p.ResourceUse:
        return p.ResourceUse({}, {})

    def facts(self) -> Mapping[str, str]:
        return {}

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def _watch(fleet: p.Fleet) -> AsyncIterator[Any]:
    rest = p.Snapshot(0.0, (), None, None, _NOTHING)
    yield SimpleNamespace(
        fleet=fleet,
        postgres=None,
        at_rest=mock.AsyncMock(return_value=rest),
        live=mock.AsyncMock(return_value=p.Counters()),
        statements=mock.AsyncMock(return_value=None),
    )


@contextlib.asynccontextmanager
async def _beside(*_: object) -> AsyncIterator[Any]:
    @contextlib.contextmanager
    def stretch(*_: object) -> Iterator[None]:
        yield

    yield SimpleNamespace(stretch=stretch, progress=mock.Mock(), result=mock.Mock())


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
drive = Drive(fleets, keys, dict(team=2.0, user=1.0), "open", 120.0, 1.0, 42)
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
