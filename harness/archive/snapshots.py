"""Snapshots on disk: one compressed JSON file per window, to check the arithmetic.

``snapshots/<window>.json.gz`` holds every worker's counters before and after the window (series
that are not 0), what Postgres and Redis counted, what the generator counted, the truth by key, and
every source read (`harness.domain.reads.ObjectRead`) of the window and of its warm-up. Of a window
of changes it holds each change and every version of the truth, enough to judge the samples anew.
Of a window with a fault it holds what came of the fault, and every scrape of the replicas.
docs/method.md describes the fields.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

from harness.observe.counters import Counters
from harness.observe.evidence import Evidence
from harness.observe.snapshots import Scrape, Snapshot


def write_window(folder: Path, evidence: Evidence) -> Path:
    """Write the evidence of one window, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{evidence.name}.json.gz"
    body = {
        "window": evidence.name,
        "variant": evidence.variant,
        "phase": evidence.phase,
        "round": evidence.round,
        "started_s": evidence.started_s,
        "duration_s": evidence.duration_s,
        "generator": evidence.generator.model_dump(mode="json"),
        "before": _snapshot(evidence.before),
        "after": _snapshot(evidence.after),
        "truth": {str(i): dataclasses.asdict(t) for i, t in evidence.truths.items()},
        "rows": {str(i): dict(path.rows) for i, path in evidence.paths.items()},
        "checkpoints": [dataclasses.asdict(c) for c in evidence.checkpoints],
        "cpu_s": dict(evidence.cpu_s),
        "reads": evidence.reads,
        "warmup_reads": evidence.warmup_reads,
        "pause_s": evidence.pause_s,
        "promise_s": evidence.promise_s,
        "changes": [dataclasses.asdict(change) for change in evidence.changes],
        "fault": None if evidence.fault is None else dataclasses.asdict(evidence.fault),
        "scrapes": [_scrape(scrape) for scrape in evidence.scrapes],
        "not_counted": dict(evidence.not_counted),
    }
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(body, file)
    return path


def _scrape(scrape: Scrape) -> dict[str, Any]:
    pages = [None if page is None else _counters(page) for page in scrape.workers]
    return {"at_s": scrape.at_s, "workers": pages, "log_bytes": scrape.log_bytes}


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    statements = snapshot.statements
    return {
        "workers": [_counters(worker) for worker in snapshot.workers],
        "statements": None
        if statements is None
        else {
            "reads": {k.value: dataclasses.asdict(n) for k, n in statements.reads.items()},
            "named": dict(statements.named),
            "unnamed": dict(statements.unnamed),
        },
        "redis": None if snapshot.redis is None else dataclasses.asdict(snapshot.redis),
        "spend_micro": {kind.value: dict(rows) for kind, rows in snapshot.spend.items()},
    }


def _counters(counters: Counters) -> dict[str, float]:
    return {
        name + "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels)) + "}": value
        for (name, labels), value in counters.items()
        if value
    }
