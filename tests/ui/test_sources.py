"""Where the replicas' counters are read."""

from __future__ import annotations

import json

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.exporter.app import SNAPSHOT_S
from harness.observe.counters import Counters
from harness.process.sockets import free_port
from harness.ui import sources
from harness.ui.sources import (
    PageSource,
    Place,
    SnapshotSource,
    make_source,
    parse_metrics,
    without_zeros,
)
from tests.ui.pages import HANG, served, text


def test_workers_of_one_replica_are_joined_by_a_plus() -> None:
    found = parse_metrics(
        "a=http://h:1/metrics+http://h:2/metrics,http://h:3/metrics;litellm==1.84.0=http://h:4/metrics"
    )
    assert [place for place, _ in found] == [
        Place("a", "h:1", 0, 0),
        Place("a", "h:2", 0, 1),
        Place("a", "h:3", 1, 0),
        Place("litellm==1.84.0", "h:4", 0, 0),
    ]
    assert found[1][1] == "http://h:2/metrics"


def test_one_fleet_needs_no_name() -> None:
    assert [place.fleet for place, _ in parse_metrics("http://h:1,http://h:2")] == ["", ""]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("a=http://h:1;http://h:2", "has no usable name"),
        ("a=http://h:1;a=http://h:2", "named twice"),
        ("a=http://h:1,http://h:1", "named twice"),
        ("a=h:1", "no base URL"),
        ("a=http://h:1+", "A URL is empty"),
    ],
)
def test_what_is_no_list_of_pages_is_refused(metrics: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("+", r"\+")):
        parse_metrics(metrics)


def test_pages_and_snapshots_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="Give one of them"):
        make_source("http://h:1", "http://h:2")
    assert make_source("", "") is None


def test_one_worker_that_does_not_answer_does_not_keep_the_others_from_being_read() -> None:
    with served({"/a": (200, text(requests=3)), "/b": (503, ""), "/d": (200, "no page {")}) as url:
        dead = f"http://127.0.0.1:{free_port()}/a"
        places = parse_metrics(f"f={url}/a,{url}/b,{dead},{url}/c,{url}/d")
        for _ in range(2):  # over connections that are open already, too
            pages = PageSource(places).read().pages
            assert pages[0].counters is not None
            assert pages[0].counters.sum("http_requests_total") == 3
            assert [page.counters is None for page in pages] == [False, True, True, True, True]
            assert pages[1].problem == "answered with status 503"
            assert pages[2].problem == "does not answer (connection refused)"
            assert pages[3].problem
            assert pages[4].problem


def test_snapshots_bring_their_own_workers() -> None:
    row = {"replica": 1, "worker": 2, "address": "10.0.0.3:9400", "page": text(hit=5)}
    body = {"fleets": {"a": {"workers": [row], "problems": ["10.0.0.4:9400: refused"]}}}
    with served({"/snapshots": (200, json.dumps(body))}) as url:
        reading = SnapshotSource(f"{url}/snapshots").read()
    assert reading.problems == ["a: 10.0.0.4:9400: refused"]
    [page] = reading.pages
    assert page.place == Place("a", "10.0.0.3:9400", 1, 2)
    assert page.counters is not None
    assert page.counters.sum("authcache_lookups_total", outcome="hit") == 5


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"fleets": {"a": {"workers": [{}]}}}'])
def test_what_is_no_snapshot_is_a_problem_and_no_error(body: str) -> None:
    with served({"/s": (200, body)}) as url:
        reading = SnapshotSource(f"{url}/s").read()
    assert reading.pages == []
    assert "The exporter at 127.0.0.1:" in reading.problems[0]


def test_an_exporter_that_is_not_there_is_a_problem() -> None:
    reading = SnapshotSource(f"http://127.0.0.1:{free_port()}/s").read()
    assert "does not answer (connection refused)" in reading.problems[0]


def test_an_exporter_that_hangs_is_a_problem_until_it_answers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = {"replica": 0, "worker": 0, "address": "10.0.0.3:9400", "page": text(hit=5)}
    good = (200, json.dumps({"fleets": {"a": {"workers": [row], "problems": []}}}))
    pages = {"/s": good}
    with served(pages) as url:
        source = SnapshotSource(f"{url}/s")
        assert source.read().problems == []
        pages["/s"] = HANG
        # below the sockets' own time-out, so that the one around the whole answer is met
        monkeypatch.setattr(sources, "TIMEOUT_S", 0.2)
        for _ in range(2):
            with gevent.Timeout(60):
                reading = source.read()
            assert reading.pages == []
            assert "does not answer (timeout)" in reading.problems[0]
        monkeypatch.undo()
        pages["/s"] = good
        reading = source.read()
        assert reading.problems == []
        assert len(reading.pages) == 1


def test_the_exporter_has_given_up_on_a_worker_before_the_tab_gives_up_on_the_exporter() -> None:
    assert SNAPSHOT_S < sources.TIMEOUT_S


def test_a_worker_that_gave_the_exporter_no_page_is_named_with_the_reason() -> None:
    place = {"replica": 1, "worker": 2, "address": "10.0.0.3:9400"}
    rows = [
        {**place, "page": None, "problem": "does not answer (timeout)"},
        {**place, "page": None},
    ]
    body = {"fleets": {"a": {"workers": rows, "problems": []}}}
    with served({"/s": (200, json.dumps(body))}) as url:
        reading = SnapshotSource(f"{url}/s").read()
    assert [page.problem for page in reading.pages] == ["does not answer (timeout)", "gave no page"]
    assert [page.counters for page in reading.pages] == [None, None]


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4))
def test_leaving_zeros_out_changes_no_sum(counts: list[int]) -> None:
    names = ("requests", "reads", "hit", "deserialize_failure")
    whole = text(**dict(zip(names, map(float, counts), strict=True)))
    short = without_zeros(whole)
    for name in ("http_requests_total", "authcache_source_reads_total", "authcache_lookups_total"):
        assert Counters.parse(short).sum(name) == Counters.parse(whole).sum(name)
    assert len(short.splitlines()) < len(whole.splitlines())
