"""What the tab shows once the load has stopped: a watcher whose source is a list of readings."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from gevent.queue import Channel, Full

from harness.observe.counters import Counters
from harness.ui.sources import MetricsPage, Place, Reading
from tests.ui.pages import page

REQUESTS = "http_requests_total"
PATIENCE_S = 20
SILENT = Reading([], ["The exporter at 127.0.0.1:1 does not answer (timeout)."])


class Scripted:
    """Gives one reading after the other, each when the test hands it over."""

    def __init__(self) -> None:
        self._readings: Channel[Reading] = Channel()
        self._first: Reading | None = Reading([page()], [])

    def read(self) -> Reading:
        first, self._first = self._first, None
        return first or self._readings.get()

    def gives(self, *readings: Reading) -> None:
        """Return when the watcher has noted all of them but the last, which it takes."""
        for reading in readings:
            self._readings.put(reading, timeout=PATIENCE_S)

    def ends(self) -> None:
        """Let a watcher go that waits for a reading."""
        with suppress(Full):
            self._readings.put(SILENT, block=False)


@pytest.fixture
def source() -> Scripted:
    return Scripted()


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch, source: Scripted) -> Iterator[Any]:
    """Watches a test that has just ended."""
    # Locust would put gevent's sockets and threads under every test of this process.
    monkeypatch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    module: Any = importlib.import_module("harness.ui.watcher")
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    monkeypatch.setattr(module, "REST_EVERY_S", 0.0)
    monkeypatch.setattr(module.reporting, "complete", lambda _: True)
    monkeypatch.setattr(module, "read_options", lambda _: None)
    watcher = module.Watcher(object(), source)
    watcher.begin()
    watcher.end()
    yield watcher
    watcher.watch = None
    source.ends()


def requests(watcher: Any) -> float:
    counted: Counters = watcher.watch.tally.fleets()["a"]
    return counted.sum(REQUESTS)


def test_a_missed_reading_after_the_end_is_not_the_last(watcher: Any, source: Scripted) -> None:
    source.gives(Reading([page(requests=7, pending=5)], []), SILENT, SILENT)
    assert not watcher.watch.at_rest
    assert watcher.watch.tally.problems == SILENT.problems
    last = Reading([page(requests=12)], [])
    source.gives(last, last)
    assert watcher.watch.at_rest
    assert watcher.watch.tally.problems == []
    assert requests(watcher) == 12


def test_after_a_while_a_test_rests_without_an_answer(
    watcher: Any, source: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.ui.watcher.SETTLE_S", 0.0)
    source.gives(SILENT, SILENT)
    assert watcher.watch.at_rest


def test_at_rest_a_lost_replica_is_named_and_further_requests_count(
    watcher: Any, source: Scripted
) -> None:
    other = Place("a", "127.0.0.1:2", 1, 0)
    whole = Reading([page(requests=4), page(other)], [])
    source.gives(whole, whole)
    assert watcher.watch.at_rest
    lost = Reading([page(requests=6), MetricsPage(other, None, "does not answer (refused)")], [])
    source.gives(lost, lost)
    assert watcher.watch.at_rest
    assert requests(watcher) == 6
    assert [text.split(".")[0] for text in watcher.watch.tally.problems] == [
        "Replica 1 of a, worker 0 (127"
    ]
