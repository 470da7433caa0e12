"""The vocabulary of the cache under study, as enums.

They are label values of the metrics and keys of ``result.json``; see docs/method.md.
"""

from __future__ import annotations

from enum import StrEnum


class ObjectKind(StrEnum):
    """A cached thing."""

    KEY = "key"
    USER = "user"
    TEAM = "team"
    MEMBERSHIP = "membership"


class Tier(StrEnum):
    """Where a lookup asks."""

    MEMORY = "memory"
    REDIS = "redis"


SOURCE = "source"
"""Beside the tiers, where a served object came from: the request's own read from Postgres."""
SHARED = "shared"
"""Where it came from another lookup's answer that the request waited for (`Coalesced`). The read
itself, if there was one, is the other lookup's ``source``: so each source read is named once."""


class Op(StrEnum):
    """A ``load`` falls through to Postgres, a ``peek`` never does."""

    LOAD = "load"
    PEEK = "peek"


class Outcome(StrEnum):
    """Outcome of one lookup in one tier. A deserialize failure is neither a hit nor a miss."""

    HIT = "hit"
    MISS = "miss"
    DESERIALIZE_FAILURE = "deserialize_failure"
    BACKEND_ERROR = "backend_error"


class ReadReason(StrEnum):
    """Why Postgres was asked.

    ``direct`` is a read without a cache lookup before it, ``seed`` one for the first value of a
    spend counter.
    """

    MISS = "miss"
    DESERIALIZE_FAILURE = "deserialize_failure"
    BACKEND_ERROR = "backend_error"
    REFRESH = "refresh"
    DIRECT = "direct"
    SEED = "seed"


class KeyScope(StrEnum):
    """What a virtual key belongs to. ``UNKNOWN`` is a request whose key was never resolved."""

    TEAM = "team"
    USER = "user"
    MEMBER = "member"
    SHARED_ID = "shared_id"
    UNKNOWN = "unknown"


LOAD_SCOPES = (KeyScope.TEAM, KeyScope.USER, KeyScope.SHARED_ID, KeyScope.MEMBER)
"""The scopes that a scenario can drive, in the order of every table."""


class Coalesced(StrEnum):
    """Where a lookup waited for another's answer instead of asking itself."""

    BEFORE_REDIS = "before_redis"
    BEFORE_SOURCE = "before_source"


class WriteOutcome(StrEnum):
    """Outcome of one write to one tier.

    ``SKIPPED`` was not stored: the breaker is open, or the tier holds something newer or a claim.
    """

    OK = "ok"
    ERROR = "error"
    SKIPPED = "skipped"


class Invalidated(StrEnum):
    """What happened to the news that an object has changed.

    ``SENT`` by the handler to the other workers, ``RECEIVED`` by one of them; ``APPLIED``: a copy
    in a worker's memory was dropped, the handler's own too; ``DROPPED``: it could not be sent, or a
    copy in Redis could not be evicted, or what was lost meanwhile is not known one by one.
    """

    SENT = "sent"
    RECEIVED = "received"
    APPLIED = "applied"
    DROPPED = "dropped"


def key_scope(user_id: str | None, team_id: str | None) -> KeyScope:
    """The scope of a virtual key, from the two ids that its row carries."""
    if team_id is None:
        return KeyScope.USER if user_id is not None else KeyScope.UNKNOWN
    if user_id is None:
        return KeyScope.TEAM
    return KeyScope.SHARED_ID if user_id == team_id else KeyScope.MEMBER
