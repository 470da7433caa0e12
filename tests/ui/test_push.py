"""What Locust tells the exporter of its load, at a real exporter."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from urllib.parse import urlsplit

import gevent
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.exporter.app import Exporter
from harness.exporter.serving import serve
from harness.exporter.state import GeneratorCount, RunState
from harness.load.counts import LoadCounts
from harness.load.plan import Arrival, open_stream
from harness.observe.counters import Counters
from harness.process.sockets import free_port
from harness.ui.push import TIMEOUT_S, Due, Pusher
from tests.ui.pages import HANG, served

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
# One for all: each reads the certificates of the world, which costs more than most tests here.
# It keeps no connection, as each test has an exporter of its own.
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


class Generator:
    """The load side, as far as the exporter learns of it."""

    def __init__(self) -> None:
        self.counts = LoadCounts()
        self.elapsed_s = 0.0
        self.complete = True
        self.asked = 0
        """How often it was asked whether the counts are final."""

    def pusher(self, url: str, timeout_s: float = TIMEOUT_S) -> Pusher:
        return Pusher(
            f"{url}/snapshots",
            lambda: LoadCounts.total([self.counts]),
            lambda: self.elapsed_s,
            self._is_complete,
            every_s=0.05,
            timeout_s=timeout_s,
        )

    def _is_complete(self) -> bool:
        self.asked += 1
        return self.complete

    def ends(self, fleet: str, *statuses: int, scope: str = "team") -> None:
        for status in statuses:
            self.counts.ended(fleet, scope, status, "")


class Served:
    """A real exporter in a thread of its own."""

    def __init__(self, exporter: Exporter, url: str) -> None:
        self.exporter = exporter
        self.url = url

    def page(self) -> Counters:
        return Counters.parse(HTTP.get(f"{self.url}/metrics").text)

    def sum(self, name: str, **labels: str) -> float:
        return self.page().sum(f"authcache_{name}", **labels)

    def windows(self) -> dict[tuple[str, str, str], float]:
        return {
            (labels["variant"], labels["phase"], labels["round"]): value
            for (name, pairs), value in self.page().items()
            if name == "authcache_window_active" and (labels := dict(pairs))
        }


@contextmanager
def serving(state: RunState, *, takes_state: bool = True, port: int = 0) -> Iterator[Served]:
    found: list[Served] = []
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def main() -> None:
        exporter = Exporter(state, {}, takes_state=takes_state)
        async with serve(exporter, port=port) as url:
            found.append(Served(exporter, url))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def until(look: Callable[[], object]) -> None:
    with gevent.Timeout(PATIENCE_S):
        while not look():
            gevent.sleep(0.02)


def answered(there: Served, requests: int) -> bool:
    return there.sum("generator_requests_total") == requests


def idle(*variants: str) -> RunState:
    """As `harness exporter` begins."""
    return RunState.planned(dict.fromkeys(variants, 2), {v: {"all": 40.0} for v in variants}, [])


def every(step_s: float, replicas: int) -> Iterator[Arrival]:
    return (Arrival(step_s * n, "team", 0, n % replicas) for n in count())


def test_a_load_is_seen_while_it_runs_and_as_a_whole_afterwards() -> None:
    load = Generator()
    with serving(idle("a", "b")) as there:
        pusher = load.pusher(there.url)
        pusher.begin(["a", "a", "b"], [])
        until(lambda: there.windows() == {("a", "load", "1"): 1, ("b", "load", "1"): 1})
        load.ends("a", 200, 200, 401)
        load.ends("b", 200, scope="user")
        load.counts.ended("b", "", 0, "timeout")
        load.counts.delayed(0.5)
        load.counts.delayed(1.5)
        load.counts.delayed(2.0)
        until(lambda: there.sum("generator_requests_total") == 4)
        page = there.page()
        assert page.by("authcache_generator_requests_total", "variant", "key_scope", "status") == {
            ("a", "team", "200"): 2,
            ("a", "team", "401"): 1,
            ("b", "user", "200"): 1,
        }
        # in a closed load a request that has ended was due, answered or not
        assert page.by("authcache_generator_planned_total", "variant") == {("a",): 3, ("b",): 2}
        assert page.by("authcache_generator_late_total", "variant") == {("a",): 1, ("b",): 2}
        assert page.sum("authcache_generator_max_delay_seconds", variant="a") == 2.0
        load.ends("a", 200)
        pusher.end()
        until(lambda: set(there.windows().values()) == {0})
        assert there.sum("generator_requests_total") == 5
        assert there.sum("generator_planned_total") == 6
        # what the exporter knew of the fleets is still there
        assert there.sum("replicas_expected") == 4
        assert there.sum("reference_line_per_1000", variant="a") == 40
        pusher.close()


def test_counters_go_on_over_loads_and_over_locusts() -> None:
    load = Generator()
    with serving(idle("a")) as there:
        last = there.page()
        one, another = load.pusher(there.url), load.pusher(there.url)
        for number, pusher in enumerate((one, one, another), 1):
            load.counts = LoadCounts()
            pusher.begin(["a"], [])
            load.ends("a", *[200] * 10)
            until(partial(answered, there, 10 * number))
            assert there.windows() == {("a", "load", str(number)): 1}
            assert there.page().fallen(last) == []
            last = there.page()
            pusher.end()
            until(lambda: set(there.windows().values()) == {0})
            assert there.page().fallen(last) == []
        assert there.sum("generator_planned_total") == 30


def test_a_load_that_starts_at_once_after_another_loses_nothing_of_it() -> None:
    load = Generator()
    load.complete = False  # workers have not said their last word, and never will
    with serving(idle("a")) as there:
        pusher = load.pusher(there.url)
        pusher.begin(["a"], [])
        load.ends("a", 200, 200)
        pusher.end()
        load.counts = LoadCounts()
        pusher.begin(["a"], [])
        load.ends("a", 200)
        until(lambda: there.sum("generator_requests_total") == 3)
        assert there.windows() == {("a", "load", "2"): 1}
        pusher.close()
        assert there.windows() == {("a", "load", "2"): 0}


def test_the_last_word_of_the_workers_is_waited_for() -> None:
    load = Generator()
    load.complete = False
    with serving(idle("a")) as there:
        pusher = load.pusher(there.url)
        pusher.begin(["a"], [])
        until(lambda: there.windows() == {("a", "load", "1"): 1})
        pusher.end()
        until(lambda: load.asked > 2)
        assert there.windows() == {("a", "load", "1"): 1}
        load.ends("a", 200)
        load.complete = True
        until(lambda: set(there.windows().values()) == {0})
        assert there.sum("generator_requests_total") == 1


def test_a_load_that_another_locust_left_running_is_kept_and_ended() -> None:
    state = idle("a")
    state.began("a", "load", 4)
    state.began("a", "measured", 1)
    state.counted("a", GeneratorCount(planned=7, requests={"team": {"200": 7}}))
    load = Generator()
    with serving(state) as there:
        pusher = load.pusher(there.url)
        pusher.begin(["a"], [])
        load.ends("a", 200)
        until(lambda: there.sum("generator_requests_total") == 8)
        # a run's own windows are none of ours
        assert there.windows() == {("a", "load", "5"): 1, ("a", "measured", "1"): 1}
        pusher.close()


def test_an_exporter_that_begins_anew_in_the_middle_gets_the_counts_again() -> None:
    load = Generator()
    with serving(idle("a")) as there:
        there.exporter.state.counted("a", GeneratorCount(planned=5, requests={"user": {"200": 5}}))
        pusher = load.pusher(there.url)
        pusher.begin(["a"], [])
        load.ends("a", 200)
        until(lambda: there.sum("generator_requests_total") == 6)
        fresh = RunState(replicas_expected={"a": 3}, generator={"a": GeneratorCount()})
        there.exporter.state = fresh
        until(lambda: there.sum("generator_requests_total") == 6)
        assert there.sum("replicas_expected") == 3, "what it knows by now counts"
        pusher.close()


@pytest.mark.parametrize("trouble", ["gone", "refuses", "hangs", "no state"])
def test_an_exporter_in_trouble_is_noted_once_and_hurts_no_run(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    load = Generator()
    pages = {"hangs": {"/state": HANG}, "no state": {"/state": (200, "[]")}}.get(trouble, {})
    with served(pages) as url, serving(idle("a"), takes_state=False) as there:
        places = {"gone": f"http://127.0.0.1:{free_port()}", "refuses": there.url}
        caplog.set_level(logging.WARNING, "locust.authcache")
        # Only one of them is waited out; the others answer at once, on however busy a machine.
        timeout_s = 0.1 if trouble == "hangs" else TIMEOUT_S
        pusher = load.pusher(places.get(trouble, url), timeout_s)
        for _ in range(2):
            pusher.begin(["a"], [])
            load.ends("a", 200)
            until(lambda: caplog.records)
            pusher.end()
            pusher.close()
    [record] = caplog.records
    assert "The exporter at [127.0.0.1:" in record.getMessage()


def test_an_exporter_that_comes_late_learns_everything(caplog: pytest.LogCaptureFixture) -> None:
    load, asked = Generator(), list[str]()
    with served({}, asked) as url:
        pusher = load.pusher(url)
        pusher.begin(["a"], [])
        load.ends("a", 200)
        until(lambda: asked)
        pusher.end()
        # a try knocks three times; one may have been on its way, the next is of the last word
        refused = len(asked) + 7
        until(lambda: len(asked) >= refused)
    with serving(idle("a"), port=urlsplit(url).port or 0) as there:
        # the load is over by now, its end is not
        until(lambda: there.sum("generator_requests_total") == 1)
        assert there.windows() == {("a", "load", "1"): 0}
    assert len(caplog.records) == 1


def test_a_fleet_without_a_name_is_the_only_one_that_the_exporter_knows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    load = Generator()
    load.ends("", 200)
    with serving(idle("a")) as there:
        pusher = load.pusher(there.url)
        pusher.begin([""], [])
        until(lambda: there.sum("generator_requests_total", variant="a") == 1)
        pusher.close()
    assert not caplog.records
    with serving(idle("a", "b")) as there:
        pusher = load.pusher(there.url)
        pusher.begin([""], [])
        until(lambda: caplog.records)
        pusher.close()
        assert there.windows() == {}
    assert "[a, b]" in caplog.text


def test_what_waits_for_a_free_user_is_due_too() -> None:
    load = Generator()
    with serving(idle("a", "b")) as there:
        pusher = load.pusher(there.url)
        pusher.begin(["a", "a", "b"], [every(0.5, 3), every(1.0, 3)])
        load.ends("a", 200)
        load.elapsed_s = 2.0  # 0 to 2 by halves, and 0, 1, 2
        until(lambda: there.sum("generator_planned_total") == 8)
        assert there.sum("generator_planned_total", variant="b") == 2
        load.elapsed_s = 4.0
        until(lambda: there.sum("generator_planned_total") == 14)
        pusher.end()
        pusher.close()
        assert there.sum("generator_planned_total") == 14
        assert there.sum("generator_requests_total") == 1


@given(st.lists(st.floats(0, 5), max_size=5), st.integers(1, 3))
def test_a_plan_drawn_again_says_what_is_due(moments: list[float], processes: int) -> None:
    def plans() -> list[Iterator[Arrival]]:
        return [
            open_stream({"team": 1.0}, {"team": [0]}, rate_per_s=20, replicas=3, seed=seed)
            for seed in range(processes)
        ]

    fleets = ["a", "b", "a"]
    due = Due(plans(), fleets)
    for moment in sorted(moments):
        expected: Counter[str] = Counter()
        for plan in plans():
            for arrival in plan:
                if (arrival.intended_s or 0) > moment:
                    break
                expected[fleets[arrival.replica]] += 1
        assert due.at(moment) == expected
