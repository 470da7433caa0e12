"""Faults to plant in the workers of a run.

A codec is the one piece of a worker that a command can name (``--override V:codec=module:Class``),
so each fault comes with `recommended`'s codec: making it changes a class of that process.
"""

from __future__ import annotations

from typing import Any, ClassVar

from harness.authcache.cache import AuthCache
from harness.authcache.codecs.compact import Compact
from harness.authcache.events import Events
from harness.authcache.words import KeyScope
from harness.targets.metrics import Metrics
from harness.targets.reference import auth, budgets

_as_told = AuthCache.__init__
_commit = Metrics.commit


class TtlTimes10(Compact):
    """Entries live ``ttl_times`` as long as the cache was told: no fault, but planted like one."""

    ttl_times: ClassVar[float] = 1.0

    def __init__(self) -> None:
        factor = self.ttl_times

        def planted(self: AuthCache, *, ttl_s: float, **parts: Any) -> None:
            _as_told(self, ttl_s=ttl_s * factor, **parts)

        AuthCache.__init__ = planted  # type: ignore[method-assign]


class TtlTimes09(TtlTimes10):
    """Entries live a tenth too short."""

    ttl_times = 0.9


class TtlTimes11(TtlTimes10):
    """Entries live a tenth too long."""

    ttl_times = 1.1


class TtlTimes100(TtlTimes10):
    """Entries live ten times too long."""

    ttl_times = 10.0


class BookedUnderUser(Compact):
    """What requests of ``shared_id`` do is counted under ``user``; their status is not."""

    def __init__(self) -> None:
        def planted(self: Metrics, trace: Events) -> None:
            scope = trace.scope
            if scope is KeyScope.SHARED_ID:
                trace.scope = KeyScope.USER
            _commit(self, trace)
            trace.scope = scope

        Metrics.commit = planted  # type: ignore[method-assign]


class NoAuthorisation(Compact):
    """No check of the auth path refuses anything but a key that has no row."""

    def __init__(self) -> None:
        for check in ("_check_alive", "_check_model", "_check_team", "check"):
            setattr(auth, check, lambda *_: None)
        # Spend counters say no too, and then ask `check` for the owner that is over its budget.
        setattr(budgets, "check", lambda *_: None)  # noqa: B010 - mypy takes it for a constant


class LosesExpiry(Compact):
    """``expires`` and ``metadata`` are lost on the way to Redis."""

    def encode(self, kind: Any, value: Any) -> bytes:
        if kind == "key":
            value = value.model_copy(update={"expires": None, "metadata": {}})
        return super().encode(kind, value)
