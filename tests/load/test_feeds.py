"""Where users get their requests from."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import gevent
import pytest

from harness.load.feeds import ClosedFeed, FreeFeed, PlannedFeed, StreamFeed
from harness.load.plan import Arrival, by_popularity

PLAN = [Arrival(n / 1000, "team", n, 0) for n in range(20)]


class Handed(list[Arrival]):
    """A plan that knows in which order its arrivals were taken."""

    def __init__(self, plan: list[Arrival]) -> None:
        super().__init__(plan)
        self.out: list[Arrival] = []

    def __getitem__(self, index: Any) -> Any:
        self.out.append(super().__getitem__(index))
        return self.out[-1]


def drain(feed: PlannedFeed | ClosedFeed, users: int) -> list[Arrival]:
    taken: list[Arrival] = []

    def user() -> None:
        for arrival in feed.arrivals("user"):
            if arrival.intended_s is not None:
                assert feed.now() >= arrival.intended_s
            taken.append(arrival)
            gevent.sleep(0)

    crowd = [gevent.spawn(user) for _ in range(users)]
    gevent.sleep(0)
    assert taken == [], "none starts before the clock"
    feed.begin()
    gevent.joinall(crowd, raise_error=True)
    return taken


@pytest.mark.parametrize("users", [1, 3, 50])
def test_users_share_a_plan_in_order_and_never_start_early(users: int) -> None:
    handed = Handed(PLAN)
    feed = PlannedFeed(handed, last_start_s=60)
    taken = drain(feed, users)
    assert handed.out == PLAN
    # Of two users whose moments have passed on a busy machine, either may go on first.
    assert sorted(taken, key=PLAN.index) == PLAN
    assert users > 1 or taken == PLAN
    assert feed.taken == len(PLAN)


def test_arrivals_are_dropped_when_the_window_is_over() -> None:
    feed = PlannedFeed(PLAN, last_start_s=-1)
    assert drain(feed, 2) == []
    assert feed.taken == 0


def test_closed_users_go_on_until_the_time_is_over() -> None:
    numbers = (Arrival(None, "team", n, 0) for n in itertools.count())
    feed = ClosedFeed(numbers, users=3, ramp_s=0, duration_s=0.05)
    taken = drain(feed, 3)
    assert [a.key for a in taken] == list(range(feed.taken))
    assert feed.taken > 3
    assert feed.now() >= 0.05


def test_closed_users_start_over_the_ramp() -> None:
    feed = ClosedFeed(itertools.repeat(PLAN[0]), users=4, ramp_s=0.2, duration_s=60)
    starts: list[float] = []

    def user() -> None:
        next(feed.arrivals("team"))
        starts.append(feed.now())

    crowd = [gevent.spawn(user) for _ in range(4)]
    gevent.sleep(0)
    feed.begin()
    gevent.joinall(crowd, raise_error=True)
    assert all(start >= place * 0.05 for place, start in enumerate(sorted(starts)))


def test_a_free_user_draws_keys_of_its_scope_and_all_users_share_the_replicas() -> None:
    feed = FreeFeed({"team": [0, 1], "user": [2]}, replicas=4)
    team, user = feed.arrivals("team"), feed.arrivals("user")
    taken = [next(team if n % 3 else user) for n in range(80)]
    assert {a.key for a in taken if a.scope == "team"} == {0, 1}
    assert {a.key for a in taken if a.scope == "user"} == {2}
    assert set(Counter(a.replica for a in taken).values()) == {20}
    assert {a.intended_s for a in taken} == {None}


def test_free_users_follow_the_popularity_of_the_keys() -> None:
    feed = FreeFeed({"team": list(range(9))}, replicas=1, zipf=10.0)
    found = Counter(a.key for a in itertools.islice(feed.arrivals("team"), 200))
    assert found.most_common(1)[0][0] == by_popularity("team", range(9))[0]
    assert found.most_common(1)[0][1] > 190  # 199.8 on average


def test_a_stream_goes_on_in_order_until_its_end_and_users_that_wait_are_let_go() -> None:
    later = itertools.repeat(Arrival(3600.0, "team", 99, 0))
    feed = StreamFeed(itertools.chain(PLAN, later))
    taken: list[Arrival] = []

    def user() -> None:
        taken.extend(feed.arrivals("user"))

    crowd = [gevent.spawn(user) for _ in range(3)]
    feed.begin_once()
    start = feed.at(0.0)
    while len(taken) < len(PLAN):
        gevent.sleep(0.001)
    feed.begin_once()
    assert feed.at(0.0) == start, "the clock is not set back"
    feed.end()
    gevent.joinall(crowd, timeout=60, raise_error=True)
    # users that are behind overtake each other
    assert sorted(taken) == PLAN, "none sends what was due in an hour"
    assert feed.taken == len(PLAN)


def test_a_stream_that_never_began_ends_too() -> None:
    feed = StreamFeed(iter(PLAN))
    user = gevent.spawn(lambda: list(feed.arrivals("user")))
    feed.end()
    assert user.get(timeout=60) == []


def test_a_free_feed_ends_when_asked_to() -> None:
    feed = FreeFeed({"team": [0]}, replicas=1)
    arrivals = feed.arrivals("team")
    next(arrivals)
    feed.end()
    assert list(arrivals) == []


def test_what_is_due_is_counted_whether_anybody_took_it_or_not() -> None:
    late = Arrival(3600.0, "team", 99, 0)
    feed = PlannedFeed([*PLAN, late], last_start_s=60)
    feed.begin()
    assert feed.due() <= len(PLAN)
    feed.sleep_until(PLAN[-1].intended_s or 0.0)
    assert (feed.due(), feed.taken) == (len(PLAN), 0)


def test_in_the_closed_model_due_is_what_was_started() -> None:
    feed = ClosedFeed(itertools.repeat(PLAN[0]), users=1, ramp_s=0, duration_s=60)
    feed.begin()
    arrivals = feed.arrivals("team")
    for _ in range(3):
        next(arrivals)
    assert feed.due() == 3


def test_a_user_whose_time_comes_in_the_moment_of_the_end_sends_nothing() -> None:
    """Its request would be cut off on its way: counted by a replica and not here."""
    feed = StreamFeed(Arrival(0.05 * n, "team", 0, 0) for n in range(1, 9))
    feed.begin()
    sent: list[Arrival] = []

    def hold_the_loop() -> None:
        """So long that the end and the first arrival are due in one and the same turn of it."""
        gevent.sleep(0.02)
        while feed.now() < 0.06:
            pass

    user = gevent.spawn(lambda: sent.extend(feed.arrivals("team")))
    holding = gevent.spawn(hold_the_loop)
    gevent.sleep(0.04)
    feed.end()
    gevent.joinall([user, holding], timeout=5, raise_error=True)
    assert sent == []
