"""The CSV download: every counter that changed since the start of the test, one per line."""

from __future__ import annotations

import csv
from io import StringIO

from harness.domain.series import LOGS, LOOKUPS, READS, REQUESTS
from harness.load.counts import LoadCounts
from harness.load.fleets import known_as
from harness.ui.tally import FleetTally

ANSWERED = "generator_answered"
UNANSWERED = "generator_unanswered"
LABELS = (
    *("tier", "op", "outcome", "object", "reason", "key_scope"),
    *("route", "status", "level", "signature", "error"),
)
COLUMNS = ("source", "metric", "variant", "replica", "worker", *LABELS, "value")
"""``source`` is ``worker`` or ``generator``; a label that a metric does not have is empty."""
_METRICS = (LOOKUPS, READS, LOGS, REQUESTS)


def write_csv(tally: FleetTally, load: LoadCounts) -> str:
    """All counters with their column names in the first line.

    Values count from the start of the test; counters that did not change are left out.
    """
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    fleets = {worker.place.fleet for worker in tally.workers()}
    for (fleet, scope, status), n in sorted(load.answered.items()):
        labels = {"key_scope": scope, "status": status}
        writer.writerow(_row("generator", ANSWERED, known_as(fleet, fleets), n) | labels)
    for (fleet, kind), n in sorted(load.unanswered.items()):
        writer.writerow(_row("generator", UNANSWERED, known_as(fleet, fleets), n) | {"error": kind})
    for worker in tally.workers():
        place = worker.place
        numbers = {"replica": place.replica, "worker": place.worker}
        found = sorted((name, sorted(pairs), n) for (name, pairs), n in worker.counted.items())
        for name, pairs, moved in found:
            if name in _METRICS and moved:
                known = {label: value for label, value in pairs if label in LABELS}
                writer.writerow(_row("worker", name, place.fleet, moved) | numbers | known)
    return text.getvalue()


def _row(source: str, metric: str, variant: str, n: float) -> dict[str, object]:
    return {"source": source, "metric": metric, "variant": variant, "value": int(n)}
