from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from harness.archive.snapshots import write_window
from harness.domain.changes import ChangeEvent
from harness.targets.base import KeyTruth
from tests.observe.build import evidence, page, series


def test_a_snapshot_holds_every_workers_series_but_those_at_0(tmp_path: Path) -> None:
    window = evidence()
    counted = page(series("reads_total", 3, object="key", a="b"), series("reads_total", 0, a="c"))
    after = replace(window.after, workers=(counted, page(series("waits_total", 0))))
    path = write_window(tmp_path / "snapshots", replace(window, after=after))
    assert path == tmp_path / "snapshots" / "05-measured-a.json.gz"
    body = json.loads(gzip.decompress(path.read_bytes()))
    assert body["after"]["workers"] == [{'reads_total{a="b",object="key"}': 3}, {}]
    assert body["before"]["workers"] == [{}]
    # A count that is 0 is a count; only series are left out.
    assert body["before"]["redis"] == {"keys_read": 0, "calls": {}}
    assert body["before"]["spend_micro"] == {"key": {}, "user": {}, "team": {}, "membership": {}}
    assert body["after"]["spend_micro"]["key"] == {"k0": 25_000}
    assert body["rows"] == {"0": {"key": "k0"}}
    assert body["after"]["statements"]["named"] == {"transaction": 8}
    assert body["truth"] == {
        "0": {
            "digests": {"key": "right"}, "status": 200, "refusal": "", "since": None, "earlier": [],
            "also": [],
        }
    }  # fmt: skip
    assert body["generator"]["answered"] == 100


def test_a_snapshot_holds_the_changes_and_every_version_of_the_truth(tmp_path: Path) -> None:
    event = ChangeEvent(1, "key-block", "team", "api", 0, 2, "2.0", 1.5, 1.75, 200, "done")
    before = KeyTruth({"key": "old"}, 200)
    truth = KeyTruth({"key": "new"}, 401, "blocked", (1.5, 1.75), (before,))
    window = evidence(phase="changes", changes=(event,), truths={0: truth}, promise_s=4.1)
    path = write_window(tmp_path, window)
    body = json.loads(gzip.decompress(path.read_bytes()))
    assert TypeAdapter(tuple[ChangeEvent, ...]).validate_python(body["changes"]) == window.changes
    assert TypeAdapter(dict[int, KeyTruth]).validate_python(body["truth"]) == window.truths
    assert body["promise_s"] == 4.1
