"""What all users of one load share: addresses, keys, connections, and the feed.

Connections. Users share one pool of keep-alive connections per replica, which grows to the
greatest number of requests that were outstanding there at once; a pool per user would open users x
replicas. A connection that the replica closed while it lay idle is noticed before it is used
again. One that is closed in the very moment of use makes that request end as
``connection_reset``: nothing sends it again, as one planned request must be one request on the
wire. Replicas therefore keep idle connections open for longer than a window, and each window
opens connections of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from geventhttpclient.client import HTTPClientPool
from locust.contrib.fasthttp import insecure_ssl_context_factory
from locust.env import Environment

from harness.domain.population import LoadKey
from harness.domain.series import CHAT_ROUTE
from harness.errors import UsageError
from harness.load.feeds import Feed
from harness.load.plan import Arrival


@dataclass(slots=True)
class InFlight:
    """How many requests are outstanding."""

    count: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LoadSession:
    """One load, as its users see it."""

    feed: Feed
    pause: Callable[[Any], float]
    """Seconds that a user waits after a reply; a Locust wait time."""
    urls: tuple[str, ...]
    """By replica."""
    headers: tuple[dict[str, str], ...]
    """By key."""
    pool: HTTPClientPool
    timeout_s: float
    """Of one request, from before the connection is made to the last byte."""
    fleets: tuple[str, ...] = ()
    """By replica: the name of its fleet; empty where a load drives one fleet without a name."""
    route: Callable[[Arrival], Arrival] = lambda arrival: arrival
    """The arrival with the replica that takes it when it is sent: a load balancer."""
    in_flight: InFlight = field(default_factory=InFlight)

    def name(self, arrival: Arrival) -> str:
        """A request's name in Locust's statistics: its fleet's name, if any, and its scope."""
        if not self.fleets:
            return arrival.scope
        return f"{self.fleets[arrival.replica]} {arrival.scope}"


def make_session(
    feed: Feed,
    *,
    hosts: Sequence[str],
    keys: Sequence[LoadKey],
    pause: Callable[[Any], float],
    connections: int,
    timeout_s: float,
    fleets: Sequence[str] = (),
    route: Callable[[Arrival], Arrival] = lambda arrival: arrival,
) -> LoadSession:
    """A session with a pool of its own.

    Args:
        feed: see `LoadSession`.
        hosts: base URLs of the replicas.
        keys: all keys of the keys file.
        pause: see `LoadSession`.
        connections: most connections to one replica; with one per user, no request waits for one.
        timeout_s: see `LoadSession`.
        fleets: see `LoadSession`.
        route: see `LoadSession`.
    """
    pool = HTTPClientPool(
        concurrency=connections,
        connection_timeout=timeout_s,
        network_timeout=timeout_s,
        # as Locust does by default: a load test is no place to check certificates
        insecure=True,
        ssl_context_factory=insecure_ssl_context_factory,
    )
    return LoadSession(
        feed=feed,
        pause=pause,
        urls=tuple(host + CHAT_ROUTE for host in hosts),
        headers=tuple(_headers(key.secret) for key in keys),
        pool=pool,
        timeout_s=timeout_s,
        fleets=tuple(fleets),
        route=route,
    )


def _headers(secret: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {secret}",
        "Content-Type": "application/json",
        # the body is not read, so compressing it would waste time
        "Accept-Encoding": "identity",
    }


_SESSIONS: WeakKeyDictionary[Environment, LoadSession] = WeakKeyDictionary()


def attach(environment: Environment, session: LoadSession) -> None:
    """Give the users of an environment their session; a previous one is closed."""
    detach(environment)
    _SESSIONS[environment] = session


def detach(environment: Environment) -> None:
    """Remove the session and close its connections. Does nothing without a session."""
    former = _SESSIONS.pop(environment, None)
    if former is not None:
        former.pool.close()


def session_of(environment: Environment) -> LoadSession:
    """The environment's session. Raises UsageError without one."""
    session = _SESSIONS.get(environment)
    if session is None:
        raise UsageError(
            "These users have no keys and hosts []. Run `locust -f locustfile.py`, whose options "
            "give them, or attach a session to the environment."
        )
    return session
