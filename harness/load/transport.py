"""Reads a request's outcome from Locust's ``request`` event."""

from __future__ import annotations

from typing import Any

from locust.contrib.fasthttp import FastResponse, LocustBadStatusCode

from harness.domain.served import COST_HEADER, SERVED_HEADER, WORKER_HEADER
from harness.load.kinds import unanswered_kind
from harness.load.recorder import RequestOutcome


def outcome_of(response: FastResponse | None, exception: BaseException | None) -> RequestOutcome:
    """How a request ended, from the arguments of Locust's ``request`` event.

    A request is answered when its whole reply was read, whatever the status. One whose reply
    broke off counts as unanswered, even if the status line arrived.
    """
    if response is None or not (exception is None or isinstance(exception, LocustBadStatusCode)):
        return RequestOutcome(0, unanswered_kind(exception))
    return RequestOutcome(
        response.status_code,
        "",
        _header(response, COST_HEADER),
        _header(response, SERVED_HEADER),
        _header(response, WORKER_HEADER),
    )


def _header(response: FastResponse, name: str) -> str | None:
    value: Any = response.headers.get(name) if response.headers is not None else None
    # a repeated header is a list; joined by commas it means the same
    return ",".join(value) if isinstance(value, list) else value
