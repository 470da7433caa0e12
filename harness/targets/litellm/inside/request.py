"""What one request did, tracked by a context variable.

A request ends before its background work does: LiteLLM writes the key object back and books the
spend in tasks of their own. These inherit the context, so what they do is counted under the
request's key scope too, one by one, after the request itself was counted.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any

from harness.authcache.digest import digest
from harness.authcache.events import Asked, Lookup, SourceRead, Wait
from harness.authcache.words import (
    KeyScope,
    ObjectKind,
    Op,
    Outcome,
    ReadReason,
    Tier,
    key_scope,
)
from harness.domain.served import Served
from harness.targets.litellm.inside import kinds
from harness.targets.litellm.inside.guard import Guard
from harness.targets.metrics import Metrics

_REASONS = {
    Outcome.MISS: ReadReason.MISS,
    Outcome.DESERIALIZE_FAILURE: ReadReason.DESERIALIZE_FAILURE,
    Outcome.BACKEND_ERROR: ReadReason.BACKEND_ERROR,
}


class UncountedEvents:
    """Events that have not been counted yet."""

    __slots__ = ("asked", "lookups", "scope", "source_reads", "waits")

    def __init__(self, scope: KeyScope = KeyScope.UNKNOWN) -> None:
        self.scope = scope
        self.asked: list[Asked] = []
        self.lookups: list[Lookup] = []
        self.source_reads: list[SourceRead] = []
        self.waits: list[Wait] = []


class Request:
    """Lookups, source reads and served objects of one request.

    Args:
        metrics: count what it does.
        scoped: False for a management call: what it looks up is not load, and would otherwise count
            under the scope of the operator's own user, or of a key that it changes.
    """

    __slots__ = ("_metrics", "_open", "_scoped", "_unserved", "done", "ended_at", "served", "trace")

    def __init__(self, metrics: Metrics, *, scoped: bool = True) -> None:
        self._metrics = metrics
        self._scoped = scoped
        self._open: dict[ObjectKind, list[ReadReason]] = {}
        self._unserved: set[ObjectKind] = set()
        self.trace = UncountedEvents()
        self.served: list[Served] = []
        self.done = False
        self.ended_at = 0.0

    @property
    def scope(self) -> KeyScope:
        """The key scope, as soon as the key is known."""
        return self.trace.scope

    def lookup(self, tier: Tier, op: Op, outcome: Outcome, kind: ObjectKind) -> None:
        """One question to one tier was answered."""
        self.trace.lookups.append(Lookup(tier, op, outcome, kind))
        self._pass_on()

    def left_open(self, kind: ObjectKind, outcome: Outcome) -> None:
        """A load ended without a value: it is the reason of the next read of such an object."""
        self._open.setdefault(kind, []).append(_REASONS[outcome])

    def load_failed(self, kind: ObjectKind) -> None:
        """A getter failed on the value that it found, and did not go on to Postgres.

        1.83 builds a user from any dict under its id; if that is a team it raises, and the request
        goes on without a user. Such a lookup counts as a peek, not as a load.
        """
        waiting = self._open.get(kind)
        if not waiting or waiting[-1] is not ReadReason.DESERIALIZE_FAILURE:
            return
        waiting.pop()
        for index in reversed(range(len(self.trace.lookups))):
            one = self.trace.lookups[index]
            if one[1:] == (Op.LOAD, Outcome.DESERIALIZE_FAILURE, kind):
                self.trace.lookups[index] = one._replace(op=Op.PEEK)
                return

    def source_read(self, kind: ObjectKind) -> None:
        """A statement for an object is about to be sent."""
        waiting = self._open.get(kind)
        reason = waiting.pop() if waiting else ReadReason.DIRECT
        self.trace.source_reads.append(SourceRead(kind, reason))
        self._unserved.add(kind)
        self._pass_on()

    def found(self, kind: ObjectKind, value: object, tier: Tier) -> None:
        """A cache answered with a value."""
        self._know(kind, value)
        self._serve(kind, value, tier.value)

    def written(self, kind: ObjectKind, value: object) -> None:
        """A value is written to the cache; the first write after a read holds what was read."""
        if kind in self._unserved:
            self._unserved.discard(kind)
            self._know(kind, value)
            self._serve(kind, value, "source")

    def end(self) -> None:
        """The request was answered: count it. Later events are counted as they come."""
        self.done = True
        self.ended_at = time.monotonic()
        self._pass_on()

    def _know(self, kind: ObjectKind, value: object) -> None:
        if self._scoped and kind is ObjectKind.KEY and self.trace.scope is KeyScope.UNKNOWN:
            fields = kinds.limit_fields(kind, value) or {}
            self.trace.scope = key_scope(fields.get("user_id"), fields.get("team_id"))

    def _serve(self, kind: ObjectKind, value: object, tier: str) -> None:
        if not self.done:
            fingerprint = digest(kind, kinds.limit_fields(kind, value))
            self.served.append(Served(kind.value, tier, fingerprint, None))

    def _pass_on(self) -> None:
        if self.done:
            self._metrics.commit(self.trace)
            self.trace = UncountedEvents(scope=self.trace.scope)


class Background(Request):
    """Collects events outside of any request: periodic jobs, start-up."""

    __slots__ = ()

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self.done = True

    def found(self, kind: ObjectKind, value: object, tier: Tier) -> None:
        """Serves no client."""

    def written(self, kind: ObjectKind, value: object) -> None:
        """Serves no client."""


CURRENT: ContextVar[Any] = ContextVar("authcache_request")


class Requests:
    """Finds the current request. Create one per worker.

    Args:
        metrics: count what requests do.
        variant: the label of the series of `guard`.
    """

    def __init__(self, metrics: Metrics, variant: str = "") -> None:
        self.metrics = metrics
        self.guard = Guard(metrics.registry, variant)
        self._background = Background(metrics)

    def begin(self, *, scoped: bool = True) -> Request:
        """Start a new request, as `Request`, which becomes the current one."""
        request = Request(self.metrics, scoped=scoped)
        CURRENT.set(request)
        return request

    @property
    def current(self) -> Request:
        """The request that this code works for."""
        request: Request = CURRENT.get(self._background)
        return request
