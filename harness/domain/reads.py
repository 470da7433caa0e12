"""Source reads one by one: which object was read when.

A worker's counters say how many reads there were; its read log says of which object and when. The
log holds a hash of the ids that the statement was sent with, so that it does not depend on how the
cache booked the read: the ledger compares the two (`reads_by_scope`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from harness.authcache.words import KeyScope, ObjectKind
from harness.domain.population import VirtualKey

LOG_PATH = "/reads"
"""After the path of a worker's metrics; ``?after=N`` leaves out the first N reads."""
LOG_SIZE = 100_000
"""Reads that a worker's log holds; older ones are dropped, which the ledger notices."""


class LoggedRead(NamedTuple):
    """One statement for one object, as a worker logged it."""

    at_s: float
    """Epoch seconds when it was sent. The workers of a fleet share a clock or are synchronised."""
    object: str
    """By `object_id`."""
    entry: str
    """Which of an object's cache entries was missing; empty for its only or first one."""


class ObjectRead(NamedTuple):
    """One source read of an object."""

    at_s: float
    """Seconds on a clock that all reads of one stretch of load share."""
    worker: int
    """Number of the worker that read, from 0."""
    object: str
    """By `object_id`."""
    kind: str
    entry: str
    """As `LoggedRead` has it; entries expire each by itself."""
    scope: str
    """Of the keys that have the object, ``unknown`` if no key of the population has it."""


class Owned(NamedTuple):
    """An object of the population, with the keys whose requests ask for it."""

    kind: str
    scope: str
    """The first key's."""
    keys: tuple[int, ...]
    """Their indices."""


# Workers read the same objects over and over.
@lru_cache(maxsize=8192)
def object_id(kind: str, *ids: str) -> str:
    """Kind and a hash of an object's ids in Postgres, as ``kind:hash``.

    A planted user is known by the alias of its key, an absent membership by user and team: both
    are distinct although their contents are the same.
    """
    text = "\0".join((kind, *ids))
    return f"{kind}:{hashlib.blake2s(text.encode(), digest_size=8).hexdigest()}"


def objects_of(key: VirtualKey, *, planted_null_user: bool) -> dict[ObjectKind, str]:
    """The objects that a request with this key asks for: `object_id` by kind.

    Args:
        key: of the population.
        planted_null_user: whether a user is looked up for team keys without one.
    """
    found = {ObjectKind.KEY: object_id(ObjectKind.KEY, key.token)}
    if key.user_id is not None:
        found[ObjectKind.USER] = object_id(ObjectKind.USER, key.user_id)
    elif planted_null_user and key.team_id is not None:
        found[ObjectKind.USER] = object_id(ObjectKind.USER, key.alias)
    if key.team_id is not None:
        found[ObjectKind.TEAM] = object_id(ObjectKind.TEAM, key.team_id)
    if key.user_id is not None and key.team_id is not None:
        found[ObjectKind.MEMBERSHIP] = object_id(ObjectKind.MEMBERSHIP, key.user_id, key.team_id)
    return found


def owned_objects(keys: Iterable[VirtualKey], *, planted_null_user: bool) -> dict[str, Owned]:
    """All objects that requests with these keys ask for, by `object_id`; args as `objects_of`."""
    found: dict[str, Owned] = {}
    for key in keys:
        for kind, name in objects_of(key, planted_null_user=planted_null_user).items():
            before = found.get(name, Owned(kind, key.scope, ()))
            found[name] = before._replace(keys=(*before.keys, key.index))
    return found


def resolve(
    logs: Sequence[Sequence[LoggedRead]], known: Mapping[str, Owned]
) -> tuple[ObjectRead, ...]:
    """The reads of all workers, in order of time.

    Args:
        logs: of each worker.
        known: by `owned_objects`.
    """
    reads = [
        ObjectRead(at_s, worker, name, name.partition(":")[0], entry, _scope(name, known))
        for worker, log in enumerate(logs)
        for at_s, name, entry in log
    ]
    return tuple(sorted(reads))


def _scope(name: str, known: Mapping[str, Owned]) -> str:
    return known[name].scope if name in known else KeyScope.UNKNOWN
