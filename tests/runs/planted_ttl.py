"""A fault to plant in a run: a worker whose cache keeps entries for another time than it was told.

A codec is the one piece of a worker that a command can name (``--override V:codec=module:Class``),
so the fault comes with one: making the codec changes `AuthCache` of that process.
"""

from __future__ import annotations

from typing import Any, ClassVar

from harness.authcache.cache import AuthCache
from harness.authcache.codecs.compact import Compact

_as_told = AuthCache.__init__


class TtlTimes10(Compact):
    """`recommended`'s codec; ``ttl_times`` is the planted factor."""

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
