"""The events of one object in one request. Standard library only: releases import it too."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from harness.authcache.words import (
    Coalesced,
    KeyScope,
    ObjectKind,
    Op,
    Outcome,
    ReadReason,
    Tier,
)


class Asked(NamedTuple):
    """One lookup, as it begins: a witness against its outcomes, counted apart from them."""

    op: Op
    kind: ObjectKind


class Lookup(NamedTuple):
    """One question to one tier."""

    tier: Tier
    op: Op
    outcome: Outcome
    kind: ObjectKind


class SourceRead(NamedTuple):
    """One statement sent to Postgres."""

    kind: ObjectKind
    reason: ReadReason


class Wait(NamedTuple):
    """One lookup that took another's answer."""

    kind: ObjectKind
    stage: Coalesced


class Events(Protocol):
    """The events of one request or background task, and the scope that they count under."""

    scope: KeyScope
    asked: list[Asked]
    lookups: list[Lookup]
    source_reads: list[SourceRead]
    waits: list[Wait]
