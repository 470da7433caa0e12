"""A load balancer that probes: it leaves out a replica that has not answered for some seconds.

A model, and named in every report: each replica is asked once a second, any answer will do, and a
request whose replica is left out goes to the next that is not. Requests that were sent already stay
where they are. Where no replica answers, none is left out.
"""

from __future__ import annotations

from time import perf_counter

import gevent
from geventhttpclient import HTTPClient
from geventhttpclient.url import URL

from harness.domain.window import WindowCommand
from harness.load.plan import Arrival

PROBE_S = 1.0
"""Between two probes of a replica, and how long it has for an answer."""


class ProbingBalancer:
    """Probes the replicas of a window until it is closed.

    Args:
        command: with the hosts, what they are asked for, and when one is left out.
    """

    def __init__(self, command: WindowCommand) -> None:
        self._answered_s = [perf_counter()] * len(command.hosts)
        self._drop_after_s = command.drop_after_s
        self._probes = [
            gevent.spawn(self._probe, replica, host + command.health_path)
            for replica, host in enumerate(command.hosts)
        ]

    def route(self, arrival: Arrival) -> Arrival:
        """The arrival at its replica, or at the next one that answers."""
        up = [self.is_up(replica) for replica in range(len(self._answered_s))]
        if up[arrival.replica] or not any(up):
            return arrival
        order = (*range(arrival.replica + 1, len(up)), *range(arrival.replica))
        return arrival._replace(replica=next(replica for replica in order if up[replica]))

    def is_up(self, replica: int) -> bool:
        """Whether a replica has answered lately."""
        return perf_counter() - self._answered_s[replica] <= self._drop_after_s + PROBE_S

    def close(self) -> None:
        """Stop probing."""
        gevent.killall(self._probes)

    def _probe(self, replica: int, address: str) -> None:
        url = URL(address)
        while True:
            asked_s = perf_counter()
            client = HTTPClient.from_url(
                url, concurrency=1, connection_timeout=PROBE_S, network_timeout=PROBE_S
            )
            try:
                client.get(url.request_uri).read()
                self._answered_s[replica] = perf_counter()
            except Exception:  # noqa: BLE001, S110  # whatever it is, it is no answer
                pass
            finally:
                client.close()
            gevent.sleep(max(0.0, asked_s + PROBE_S - perf_counter()))
