"""Reads the replicas' counters: from each worker's own page, or all through the exporter.

Locust has patched the sockets: pages are read concurrently, and the load goes on meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import gevent
from geventhttpclient import HTTPClient

from harness.domain.series import LOGS, LOOKUPS, PENDING, READS, REQUESTS
from harness.errors import UsageError
from harness.load.fleets import split_fleets
from harness.load.kinds import OTHER, unanswered_kind
from harness.load.mix import parse_hosts
from harness.observe.counters import Counters

TIMEOUT_S = 3.0
OK = 200
"""The one status of a page."""
_NAMES = (LOOKUPS, READS, LOGS, REQUESTS, PENDING)


@dataclass(frozen=True, slots=True)
class Place:
    """One worker process."""

    fleet: str
    address: str
    """Host and port of its page; identifies the worker."""
    replica: int
    worker: int


class MetricsPage(NamedTuple):
    """One reading of a worker: its counters, or the problem in words."""

    place: Place
    counters: Counters | None
    problem: str


class Reading(NamedTuple):
    """One reading of all workers."""

    pages: list[MetricsPage]
    problems: list[str]
    """Those that concern no single worker."""


class Source(Protocol):
    """A way to read all workers."""

    def read(self) -> Reading:
        """Read all workers at once; waits `TIMEOUT_S` at most for each answer, never raises."""


def make_source(metrics: str, snapshots: str) -> Source | None:
    """The source that the options name; None if they name none. Raises UsageError."""
    if metrics and snapshots:
        raise UsageError(
            f"Both --metrics [{metrics}] and --snapshots [{snapshots}] are given. Give one of them."
        )
    if snapshots:
        return SnapshotSource(_checked(snapshots))
    places = parse_metrics(metrics)
    return PageSource(places) if places else None


def parse_metrics(text: str) -> list[tuple[Place, str]]:
    """Workers and the URLs of their pages from ``NAME=URL+URL,URL;NAME=…``.

    Raises:
        UsageError: for anything but URLs, or one that is named twice.
    """
    found: list[tuple[Place, str]] = []
    for fleet, rest in split_fleets(text):
        replicas = [part for part in rest.split(",") if part.strip()]
        for replica, part in enumerate(replicas):
            for worker, url in enumerate(part.split("+")):
                place = Place(fleet, urlsplit(url.strip()).netloc, replica, worker)
                found.append((place, _checked(url)))
    parse_hosts(",".join(url for _, url in found))
    return found


class PageSource:
    """Every worker's own page.

    Args:
        places: workers and the URLs of their pages.
    """

    def __init__(self, places: Sequence[tuple[Place, str]]) -> None:
        self._workers = [(place, _Fetch(url)) for place, url in places]

    def read(self) -> Reading:
        """See `Source`."""
        jobs = [gevent.spawn(_page, place, fetch) for place, fetch in self._workers]
        gevent.joinall(jobs)
        return Reading([job.get() for job in jobs], [])


class SnapshotSource:
    """All pages at once from the harness's exporter, which finds the workers itself.

    Args:
        url: of the exporter's snapshots.
    """

    def __init__(self, url: str) -> None:
        self._fetch = _Fetch(url)

    def read(self) -> Reading:
        """See `Source`."""
        try:
            fleets = json.loads(self._fetch.text())["fleets"]
            return _reading(fleets)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"sent no snapshots ({type(error).__name__})"
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001  # the load must go on
            problem = describe(error)
        return Reading([], [f"The exporter at {self._fetch.address} {problem}."])


class ChangesClient:
    """The harness that makes changes (`harness.experiment.by_hand`), if one keeps the fleets up.

    Args:
        url: of its changes; empty where there is none.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def shown(self) -> tuple[dict[str, Any] | None, list[str]]:
        """What the page shows of changes, and problems; None without them."""
        if not self._url:
            return None, []
        try:
            status, body = self._ask("GET")
            if status == OK:
                found: dict[str, Any] = json.loads(body)
                return found, []
            problem = f"answered with status {status}"
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001  # the rest of the page goes on
            problem = describe(error)
        return None, [f"The harness that makes changes {problem}."]

    def make(self, body: bytes) -> tuple[int, str]:
        """Ask for a change: its status and, for one that cannot be made, the reason."""
        if not self._url:
            return 404, "No harness keeps these fleets up, so no change can be made. Use make ui."
        try:
            return self._ask("POST", body)
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001  # told on the page
            return 502, f"The harness that makes changes {describe(error)}."

    def _ask(self, method: str, body: bytes = b"") -> tuple[int, str]:
        # A client of its own for each request: several of the page's may be under way at once.
        client = HTTPClient.from_url(
            self._url, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S
        )
        with gevent.Timeout(TIMEOUT_S), closing(client):
            reply: Any = client.request(method, urlsplit(self._url).path, body)
            return reply.status_code, bytes(reply.read()).decode()


class _Fetch:
    """One URL, fetched repeatedly over one connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = parts.netloc
        names = "&".join(f"{quote('name[]')}={quote(name)}" for name in _NAMES)
        self._target = f"{parts.path or '/'}?{names}"
        self._client = HTTPClient.from_url(
            url, concurrency=1, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S
        )

    def text(self) -> str:
        """The page's text. Raises any error of the client, and gevent.Timeout."""
        with gevent.Timeout(TIMEOUT_S):
            response: Any = self._client.get(self._target)
            body = bytes(response.read())
        if response.status_code != OK:
            raise StatusError(response.status_code)
        return body.decode()


class StatusError(Exception):
    """An answer with an unexpected HTTP status."""


def describe(error: BaseException) -> str:
    """Why a worker gave no page, as a phrase to follow its name."""
    if isinstance(error, StatusError):
        return f"answered with status {error}"
    kind = unanswered_kind(error)
    if kind == OTHER:
        return f"gave no page ({type(error).__name__})"
    return f"does not answer ({kind.replace('_', ' ')})"


def without_zeros(text: str) -> str:
    """A page without the series that are 0: most are, and parsing is the main cost."""
    return "\n".join(line for line in text.splitlines() if not line.endswith(" 0.0")) + "\n"


def _page(place: Place, fetch: _Fetch) -> MetricsPage:
    try:
        return MetricsPage(place, Counters.parse(without_zeros(fetch.text())), "")
    except (Exception, gevent.Timeout) as error:  # noqa: BLE001  # the others go on
        return MetricsPage(place, None, describe(error))


def _reading(fleets: dict[str, Any]) -> Reading:
    pages: list[MetricsPage] = []
    problems: list[str] = []
    for fleet, found in fleets.items():
        problems += [f"{fleet}: {problem}" for problem in found.get("problems", ())]
        for worker in found["workers"]:
            place = Place(fleet, worker["address"], worker["replica"], worker["worker"])
            text = worker.get("page")
            if text is None:
                pages.append(MetricsPage(place, None, worker.get("problem") or "gave no page"))
            else:
                pages.append(MetricsPage(place, Counters.parse(without_zeros(text)), ""))
    return Reading(pages, problems)


def _checked(url: str) -> str:
    urls: Iterable[str] = parse_hosts(url)
    for one in urls:
        return one
    raise UsageError("A URL is empty []. Write e.g. http://127.0.0.1:9400/metrics.")
