"""Kinds of transport errors: why a request had no answer."""

from __future__ import annotations

import gevent
from geventhttpclient.response import HTTPConnectionClosed

KINDS: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("timeout", (TimeoutError, gevent.Timeout)),
    ("connection_refused", (ConnectionRefusedError,)),
    ("connection_reset", (ConnectionResetError, BrokenPipeError, HTTPConnectionClosed)),
)
"""Kinds of unanswered requests and the errors that mean them."""
OTHER = "other"
"""The kind of all other errors, such as a reply that broke off or is not HTTP."""


def unanswered_kind(exception: BaseException | None) -> str:
    """The kind of a transport error; see `KINDS`."""
    # the client wraps a timeout in a retry error, although it does not retry
    cause = getattr(exception, "original", None) or exception
    for kind, errors in KINDS:
        if isinstance(cause, errors):
            return kind
    return OTHER
