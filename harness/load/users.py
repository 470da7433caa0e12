"""The Locust users: one class for each key scope.

A user sends chat completions with virtual keys. Which key, to which replica, and when, comes
from the feed of its session (`harness.load.feeds`): without the harness, random keys of its own
scope; under the harness, the next request of a seeded plan, whatever its scope.

Every request fires Locust's ``request`` event exactly once and goes over the wire at most once.
Locust's retries and redirects are switched off here; the HTTP client below it sends a request
again on a broken connection only if the method is idempotent, which POST is not. A status from
400 on is a failure in Locust's statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import ClassVar

import gevent
from locust import FastHttpUser, task
from locust.env import Environment
from locust.exception import StopUser

from harness.authcache.words import KeyScope
from harness.domain.population import CHAT_BODY
from harness.load.plan import Arrival
from harness.load.session import session_of


class KeyUser(FastHttpUser):
    """A client of the gateway; subclasses set the scope of its keys.

    The ``context`` of its ``request`` events holds the ``arrival`` (an `Arrival`) and ``sent``,
    the reading of `time.perf_counter` just before the request.
    """

    abstract = True
    scope: ClassVar[KeyScope]

    # requests carry full URLs; Locust only requires the attribute to exist
    host = ""
    max_retries = 0
    max_redirects = 0

    def __init__(self, environment: Environment) -> None:
        self._session = session_of(environment)
        self.client_pool = self._session.pool
        super().__init__(environment)
        # one user sends with many keys: a cookie set for one must not be sent with another
        self.client.client.cookiejar = None
        self._arrivals: Iterator[Arrival] = self._session.feed.arrivals(self.scope)

    def wait_time(self) -> float:
        """Seconds until the user asks for its next request."""
        return self._session.pause(self)

    @task
    def chat(self) -> None:
        """Send the next request, or stop when there is none."""
        arrival = next(self._arrivals, None)
        if arrival is None:
            raise StopUser
        session = self._session
        arrival = session.route(arrival)
        url = session.urls[arrival.replica]
        name = session.name(arrival)
        sent = perf_counter()
        context = {"arrival": arrival, "sent": sent}
        session.in_flight.count += 1
        try:
            with gevent.Timeout(session.timeout_s):
                self.client.post(
                    url,
                    data=CHAT_BODY,
                    headers=session.headers[arrival.key],
                    name=name,
                    context=context,
                )
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001  # it ended one request
            # Locust reports the failures that it handles; it does not handle this one
            self.environment.events.request.fire(
                request_type="POST",
                name=name,
                response_time=(perf_counter() - sent) * 1000,
                response_length=0,
                response=None,
                context=context,
                exception=error,
            )
        finally:
            session.in_flight.count -= 1


class TeamKeyUser(KeyUser):
    """Keys of a team, without a user."""

    scope = KeyScope.TEAM


class UserKeyUser(KeyUser):
    """Keys of a user, without a team."""

    scope = KeyScope.USER


class SharedIdKeyUser(KeyUser):
    """Keys whose user id equals their team id."""

    scope = KeyScope.SHARED_ID


class MemberKeyUser(KeyUser):
    """Keys of a user in a team."""

    scope = KeyScope.MEMBER


USER_CLASSES: tuple[type[KeyUser], ...] = (
    TeamKeyUser,
    UserKeyUser,
    SharedIdKeyUser,
    MemberKeyUser,
)
