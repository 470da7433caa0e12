"""Traces of what the cache did for one request, and the recorder that counts them.

Lookups are collected in a trace and counted when the request is over, because the key scope that
they are counted under is known only once the key itself has been looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from harness.authcache.events import Asked, Lookup, SourceRead, Wait
from harness.authcache.words import Invalidated, KeyScope, ObjectKind, Tier, WriteOutcome


class Trace(msgspec.Struct, eq=False):
    """Collects the events of one request or background task."""

    scope: KeyScope = KeyScope.UNKNOWN
    asked: list[Asked] = []
    lookups: list[Lookup] = []
    source_reads: list[SourceRead] = []
    waits: list[Wait] = []


class Recorder(Protocol):
    """Counts finished traces, and at once what is not part of a trace."""

    def commit(self, trace: Trace) -> None:
        """Count a finished trace under its scope."""

    def source_read_error(self, kind: ObjectKind) -> None:
        """A statement was sent or attempted and failed."""

    def write(self, tier: Tier, outcome: WriteOutcome, kind: ObjectKind) -> None:
        """One write to one tier."""

    def encoded(self, kind: ObjectKind, size: int, seconds: float) -> None:
        """One encode, with the payload's size in bytes."""

    def decoded(self, kind: ObjectKind, seconds: float) -> None:
        """One decode, successful or not."""

    def failed_read(self, kind: ObjectKind, logged: str, scope: KeyScope) -> None:
        """A value was not the object that was looked up.

        Args:
            kind: the object.
            logged: what the reader logs of it: ``pair``, ``warning`` or ``nothing``.
            scope: as known at that moment, which the log records carry too.
        """

    def failed_entry(self, kind: ObjectKind, writer: str) -> None:
        """An entry that this variant or another one wrote could not be read.

        Called only where replicas of two variants share Redis.
        """

    def ages(self, tier: Tier) -> Mapping[ObjectKind, Callable[[float], None]]:
        """Callbacks by object that record an answer's age: seconds since its read from Postgres.

        Fetched once per tier, because every hit calls one.
        """

    def redis_get(self, purpose: str) -> None:
        """Redis was asked for one key.

        By a GET, for a ``lookup`` or as a ``lease_poll``; by SET NX GET, to look up and ``claim``;
        or by a GET within a ``script``. A script that stores ends with a SET; one that puts a claim
        in place of what cannot be read counts its first read as the ``claim``. A ``spend`` counter
        is read by an MGET within a script, the number of the last change (``generation``) by a GET
        within one.
        """

    def invalidation(self, event: Invalidated, kind: ObjectKind) -> None:
        """One event of the news that an object has changed; one per cache key."""

    def redis_outage(self, error: BaseException, *, refused: bool = False) -> None:
        """Redis stopped answering, or refuses commands; called once per outage."""

    def redis_back(self) -> None:
        """The outage is over; called once per outage by a cache that tries Redis by itself."""

    def background(self, change: int) -> None:
        """A background task of the cache started (+1) or ended (-1)."""


class NullRecorder:
    """Counts nothing: for tests and for benchmarks of what counting costs."""

    def commit(self, trace: Trace) -> None:
        """Count nothing."""

    def source_read_error(self, kind: ObjectKind) -> None:
        """Count nothing."""

    def write(self, tier: Tier, outcome: WriteOutcome, kind: ObjectKind) -> None:
        """Count nothing."""

    def encoded(self, kind: ObjectKind, size: int, seconds: float) -> None:
        """Count nothing."""

    def decoded(self, kind: ObjectKind, seconds: float) -> None:
        """Count nothing."""

    def failed_read(self, kind: ObjectKind, logged: str, scope: KeyScope) -> None:
        """Count nothing."""

    def failed_entry(self, kind: ObjectKind, writer: str) -> None:
        """Count nothing."""

    def ages(self, tier: Tier) -> Mapping[ObjectKind, Callable[[float], None]]:
        """Count nothing."""
        del tier
        return dict.fromkeys(ObjectKind, lambda _age_s: None)

    def redis_get(self, purpose: str) -> None:
        """Count nothing."""

    def invalidation(self, event: Invalidated, kind: ObjectKind) -> None:
        """Count nothing."""

    def redis_outage(self, error: BaseException, *, refused: bool = False) -> None:
        """Count nothing."""

    def redis_back(self) -> None:
        """Count nothing."""

    def background(self, change: int) -> None:
        """Count nothing."""
