"""Runs that happened once, in one file each: the input of the records. They stay as they are.

A file holds ``manifest`` and ``result`` as the run's folder had them, ``windows`` as the files in
``snapshots/`` (docs/method.md), and ``samples`` by window. `keep` makes one of a run's folder;
`of_result` of a result that never was a run.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.golden import product as p

FOLDER = Path(__file__).resolve().parent / "stored"
_NO_MACHINE = {"os": "Linux", "git": {"commit": 40 * "0", "clean": True}, "python_build": ""}
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def names() -> list[str]:
    """Of all stored runs."""
    return sorted(path.name.removesuffix(".json.xz") for path in FOLDER.glob("*.json.xz"))


@cache
def load(name: str) -> dict[str, Any]:
    """A stored run as it lies on disk."""
    body: dict[str, Any] = json.loads(lzma.decompress((FOLDER / f"{name}.json.xz").read_bytes()))
    return body


def save(name: str, body: Mapping[str, Any]) -> Path:
    """Write one; the same bytes for the same run."""
    path = FOLDER / f"{name}.json.xz"
    path.write_bytes(lzma.compress(json.dumps(body).encode(), preset=9 | lzma.PRESET_EXTREME))
    return path


def keep(run_dir: Path, name: str) -> Path:
    """Store a run: ``python -c 'from tests.golden.stored import *; keep(Path("runs/…"), "…")'``."""

    def read(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    def texts(folder: str) -> dict[str, str]:
        return {
            path.name.partition(".")[0]: gzip.decompress(path.read_bytes()).decode()
            for path in sorted((run_dir / folder).glob("*.gz"))
        }

    return save(
        name,
        {
            "manifest": read(run_dir / "manifest.json") | _NO_MACHINE,
            "result": read(run_dir / "result.json"),
            "windows": [json.loads(text) for text in texts("snapshots").values()],
            "samples": texts("samples"),
        },
    )


def of_result(result: p.Result, name: str) -> Path:
    """Store a result without evidence."""
    return save(name, {"result": result.model_dump(mode="json")})


def unpack(name: str, runs_dir: Path) -> Path:
    """The folder of a stored run, as far as reports are made of it."""
    run_dir = runs_dir / name
    run_dir.mkdir(parents=True)
    for part in ("result", "manifest"):
        if part in load(name):
            (run_dir / f"{part}.json").write_text(json.dumps(load(name)[part]), encoding="utf-8")
    return run_dir


def planned(scenario: p.Scenario, variants: Sequence[str] = (), stack: str = "none") -> p.RunPlan:
    """The plan of a scenario, with its own variants unless others are named."""
    picked = p.pick(p.load_variants(), list(variants) or scenario.variants)
    return p.make_plan(scenario, [p.reference_arm(variant) for variant in picked], stack=stack)


def analysed(name: str, folder: Path, **ends: Any) -> p.Result:
    """What the analysis makes today of a stored run's evidence.

    Args:
        name: of the stored run.
        folder: where its samples are unpacked.
        ends: ``interrupted``, ``problem`` and ``strict`` as `analyse` takes them, and, in place of
            what is stored, ``expect`` and ``limits`` of the scenario and ``windows``.
    """
    body = load(name)
    settings, then = body["manifest"]["settings"], body["result"]
    for window, text in body["samples"].items():
        (folder / f"{window}.csv.gz").write_bytes(gzip.compress(text.encode(), 1))
    expect = {"expect": ends.get("expect", settings["scenario"]["expect"])}
    drove = settings["scenario"]["load"]
    # What these runs were driven with is refused by now: windows of one or two TTLs.
    fits = {"load": drove | {"window_ttls": 3, "key_weights": []}, "with_releases": {}}
    limits = {"limits": settings["scenario"].get("limits", {}) | ends.get("limits", {})}
    scenario = p.Scenario.model_validate(settings["scenario"] | expect | limits | fits)
    driven = scenario.load.model_copy(update={"window_ttls": drove["window_ttls"]})
    scenario = scenario.model_copy(update={"load": driven})
    plan = planned(scenario, list(settings["variants"]), then["stack"])
    windows = [
        {**window, "generator": {"keys": _keys(folder, window["window"]), **window["generator"]}}
        for window in ends.get("windows", body["windows"])
    ]
    return p.analyse(
        plan,
        [_evidence(window, plan) for window in windows],
        folder,
        run_id=then["run_id"],
        started_at=then["started_at"],
        # The analysis says by itself which cold fills were late.
        notes=[note for note in then["notes"] if not note.startswith("The cold fill of")],
        elapsed_s=then["elapsed_s"],
        complete=True,
        interrupted=ends.get("interrupted", 0),
        problem=ends.get("problem"),
        strict=ends.get("strict", False),
    )


_NOT_STORED = "the stored run is older than this equation"
_NOT_CHECKED = dict.fromkeys(("memory", "redis_writes", "all_statements", "pairs"), _NOT_STORED)


def _keys(folder: Path, window: str) -> list[dict[str, Any]]:
    """What the driver counts by key today, of the samples."""
    recorder = p.RequestRecorder(window, replicas=64, late_ms=0, samples=None)
    for one in p.read_samples(folder / f"{window}.csv.gz"):
        arrival = p.Arrival(one.intended_s, one.scope, one.key, one.replica)
        cost = f"{one.cost_micro / 1_000_000:.6f}"
        outcome = p.RequestOutcome(one.status, one.error, cost, one.served)
        recorder.record(arrival, one.sent_s, one.done_s, outcome)
    return [item.model_dump() for item in recorder.by_key()]


def _evidence(body: Mapping[str, Any], plan: p.RunPlan) -> p.Evidence:
    target = next(arm.target for arm in plan.arms if arm.name == body["variant"])
    return p.Evidence(
        name=body["window"],
        variant=body["variant"],
        phase=body["phase"],
        round=body["round"],
        started_s=body["started_s"],
        duration_s=body["duration_s"],
        generator=p.WindowResult.model_validate(_by_key(body["generator"], plan)),
        before=_snapshot(body["before"]),
        after=_snapshot(body["after"]),
        truths={int(index): p.KeyTruth(**truth) for index, truth in body["truth"].items()},
        has_redis=target.describe()["redis"] == "on",
        not_counted=body["not_counted"],
        not_checked={**target.not_checked, **_NOT_CHECKED},
        findings=target.findings,
        loses_spend=target.loses_spend,
        reads_again=target.reads_again,
        # It holds one sum an object: as if all keys shared one row.
        paths={
            key.index: p.KeyPath(key.scope, dict.fromkeys(target.database.rows(key), "all"))
            for key in plan.keys
        },
        checkpoints=tuple(
            p.Checkpoint(point["at_s"], p.StatementCount(**point["count"]))
            for point in body["checkpoints"]
        ),
        cpu_s=body["cpu_s"],
    )


def _by_key(generator: Mapping[str, Any], plan: p.RunPlan) -> dict[str, Any]:
    """The runs are of before replies were counted by key. All keys of a scope call for one status
    in them, so the first key of each stands for all."""
    first = {key.scope: key.index for key in reversed(plan.keys)}
    statuses = {first[scope]: counts for scope, counts in generator["statuses"].items()}
    return {"statuses_by_key": statuses, **generator}


def _snapshot(body: Mapping[str, Any]) -> p.Snapshot:
    statements, redis = body["statements"], body["redis"]
    return p.Snapshot(
        tuple(
            p.Counters({_series(text): n for text, n in worker.items()})
            for worker in body["workers"]
        ),
        None
        if statements is None
        else p.Statements(
            {p.ObjectKind(kind): p.StatementCount(**count) for kind, count in statements.items()}
        ),
        None if redis is None else p.RedisCount(redis["keys_read"], {}),
        {p.ObjectKind(kind): {"all": micro} for kind, micro in body["spend_micro"].items()},
    )


@cache
def _series(text: str) -> tuple[str, frozenset[tuple[str, str]]]:
    name, _, labels = text.partition("{")
    return name, frozenset(_LABEL.findall(labels))
