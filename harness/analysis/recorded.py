"""Recorded payloads: what releases wrote to Redis, and what each of them makes of the others'.

A corpus is one file for each release: the entries that one replica left in Redis for a few virtual
keys with invented ids, and the cache keys that it asked. `harness compat --record` makes it. The
reading is the release's own, in its own environment (`Target.payload_reader`).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from packaging.version import Version

from harness.analysis.compat import ReadBack, Rows, StoredEntry
from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.errors import UsageError
from harness.installation import PACKAGE

FOLDER = PACKAGE / "analysis" / "corpus"


@dataclass(frozen=True, slots=True)
class Corpus:
    """What one release left in Redis and asked there, by virtual key."""

    release: str
    entries: tuple[Mapping[str, tuple[ObjectKind, Any]], ...]
    """Of each virtual key: cache key → the object's kind and its payload, decoded from JSON."""
    asked: tuple[tuple[tuple[ObjectKind, str], ...], ...]
    """Of each virtual key: the cache keys that the release asked, with the object it expects."""
    scopes: tuple[str, ...]


def corpus_file(name: str) -> str:
    """The file of a release's corpus."""
    return f"{name.replace('==', '-')}.json"


def recorded() -> list[str]:
    """The releases that have a corpus, by name, oldest first."""
    found = files("harness.analysis").joinpath("corpus").iterdir()
    names = (one.name for one in found if one.name.endswith(".json"))
    named = (name.removesuffix(".json").replace("-", "==", 1) for name in names)
    return sorted(named, key=lambda name: Version(name.partition("==")[2]))


def load_corpus(name: str) -> Corpus:
    """The corpus of a release. Raises UsageError where none was recorded."""
    file = files("harness.analysis").joinpath("corpus", corpus_file(name))
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"No payloads of [{name}] are recorded. Recorded: {', '.join(recorded()) or 'none'}. "
            f"Record them with: harness compat --record {name}"
        ) from error
    return Corpus(
        raw["release"],
        tuple(
            {key: (ObjectKind(e["object"]), e["payload"]) for key, e in one["entries"].items()}
            for one in raw["keys"]
        ),
        tuple(tuple((ObjectKind(kind), k) for kind, k in one["asked"]) for one in raw["keys"]),
        tuple(one["scope"] for one in raw["keys"]),
    )


def kind_asked(cache_key: str, key: VirtualKey) -> ObjectKind | None:
    """The object that a release expects under a cache key of a virtual key; None for any other.

    By the getters of 1.84.0rc1 to 1.110: no getter reads a team under its raw id.
    """
    if cache_key == key.token:
        return ObjectKind.KEY
    if key.user_id is not None and cache_key == key.user_id:
        return ObjectKind.USER
    if key.team_id is not None and cache_key == f"team_id:{key.team_id}":
        return ObjectKind.TEAM
    if key.user_id is not None and key.team_id is not None:
        of_member = (f"team_membership:{key.user_id}:{key.team_id}", f"{key.team_id}_{key.user_id}")
        if cache_key in of_member:
            return ObjectKind.MEMBERSHIP
    return None


def kind_of_payload(payload: Any) -> ObjectKind | None:
    """The object that a payload was written from, by its fields; None for no object."""
    if not isinstance(payload, Mapping):
        return None
    for name, kind in _TELLS.items():
        if name in payload:
            return kind
    return None


_TELLS = {
    "token": ObjectKind.KEY,
    "members_with_roles": ObjectKind.TEAM,
    "teams": ObjectKind.USER,
    "team_id": ObjectKind.MEMBERSHIP,
}
"""A field that every payload of an object has and none of the objects below it, by field."""


def write_corpus(
    name: str,
    keys: Sequence[VirtualKey],
    written: Sequence[tuple[str, Any]],
    asked: Sequence[str],
    folder: Path = FOLDER,
) -> Path:
    """Write what a release left and asked. Raises UsageError if the folder cannot be written.

    A virtual key whose user_id equals its team_id is written twice: as Redis held it in the end,
    and with the other object under each cache key that has held two kinds. Up to 1.90 the user and
    the team replace each other with each request, so one moment shows half of it.

    Args:
        name: of the release.
        keys: the virtual keys that requests were sent with.
        written: every cache key with its payload, decoded from JSON, in the order of the writes.
        asked: every cache key that the release asked Redis for.
        folder: where to.
    """
    held: dict[str, dict[ObjectKind, Any]] = {}
    for cache_key, payload in written:
        kind = kind_of_payload(payload)
        if kind is not None:
            of_key = held.setdefault(cache_key, {})
            of_key.pop(kind, None)
            of_key[kind] = payload  # The last is what Redis holds.
    rows = []
    for key in keys:
        scope = (
            key.scope if key.membership == "none" else f"{key.scope}, {key.membership} membership"
        )
        shared = key.user_id is not None and key.user_id == key.team_id
        for place, suffix in ((-1, ""), (0, ", in between"))[: 1 + shared]:
            rows.append(
                {
                    "scope": f"{scope}{suffix}",
                    "asked": [
                        (kind, cache_key)
                        for cache_key in sorted({*asked})
                        if (kind := kind_asked(cache_key, key)) is not None
                    ],
                    "entries": {
                        cache_key: {"object": kind, "payload": payload}
                        for cache_key, kinds in sorted(held.items())
                        if _is_of(cache_key, key)
                        for kind, payload in [[*kinds.items()][place]]
                    },
                }
            )
    path = folder / corpus_file(name)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = f'{{"release": {json.dumps(name)}, "keys": [\n{lines}\n]}}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"Cannot write [{path}]: {error.strerror}. Check the folder and its permissions."
        ) from error
    return path


def _is_of(cache_key: str, key: VirtualKey) -> bool:
    return any(one in cache_key for one in (key.token, key.user_id, key.team_id) if one is not None)


Question = tuple[ObjectKind, bytes]
"""A payload, and the object as which it is to be read."""


class RecordedParty:
    """A release, by its corpus and by what its own reader makes of payloads."""

    def __init__(self, corpus: Corpus) -> None:
        self.name = corpus.release
        self._corpus = corpus
        self._stored = [
            {
                cache_key: StoredEntry(kind, json.dumps(payload).encode(), moments(payload))
                for cache_key, (kind, payload) in one.items()
            }
            for one in corpus.entries
        ]
        self.answers: dict[Question, ReadBack] = {}
        """What its reader makes of each payload; filled before a matrix is made."""

    def stores(self, rows: Rows) -> Mapping[str, StoredEntry]:
        """As `Party.stores`: entries of the objects in the rows."""
        stored = self._stored[_number(rows)]
        return {key: entry for key, entry in stored.items() if entry.kind in rows}

    def asks(self, rows: Rows) -> Sequence[tuple[ObjectKind, str]]:
        """As `Party.asks`."""
        return [one for one in self._corpus.asked[_number(rows)] if one[0] in rows]

    def read(self, kind: ObjectKind, payload: bytes) -> ReadBack:
        """As `Party.read`. Raises KeyError for a payload that the reader was not asked."""
        return self.answers[kind, payload]


def _number(rows: Rows) -> int:
    number: int = next(iter(rows.values()))["virtual key"]
    return number


def recorded_population(corpora: Sequence[Corpus]) -> list[Rows]:
    """The virtual keys of the corpora, with the objects that any of them has. Raises UsageError.

    The corpora must be of the same virtual keys.
    """
    scopes = {corpus.scopes for corpus in corpora}
    if len(scopes) != 1:
        raise UsageError(
            "The payloads were recorded with different virtual keys. Record them again with: "
            f"harness compat --record {' --record '.join(corpus.release for corpus in corpora)}"
        )
    population: list[Rows] = []
    for number, scope in enumerate(corpora[0].scopes):
        kinds = {kind for corpus in corpora for kind, _ in corpus.asked[number]}
        kinds |= {kind for corpus in corpora for kind, _ in corpus.entries[number].values()}
        row = {"virtual key": number, "scope": scope}
        population.append({kind: row for kind in ObjectKind if kind in kinds})
    return population


def questions(
    party: RecordedParty, writers: Sequence[RecordedParty], population: Sequence[Rows]
) -> list[Question]:
    """Every payload that a party finds under a key that it asks, each once."""
    found: dict[Question, None] = {}
    for rows in population:
        for kind, cache_key in party.asks(rows):
            for writer in writers:
                entry = writer.stores(rows).get(cache_key)
                if entry is not None:
                    found[kind, entry.payload] = None
    return [*found]


def as_text(asked: Sequence[Question]) -> str:
    """Questions as a release's reader takes them: a JSON list of ``[object, payload]``."""
    return json.dumps([[kind, json.loads(payload)] for kind, payload in asked])


def answered(asked: Sequence[Question], text: str) -> dict[Question, ReadBack]:
    """What a release's reader wrote: a JSON list, in the order of the questions, in its last line.

    Each answer is ``{"fields": …, "defaults": …}`` or ``{"why": …}``. Raises ValueError for another
    text.
    """
    lines = text.strip().splitlines()
    answers = json.loads(lines[-1] if lines else "")
    return {
        question: ReadBack(
            moments(one.get("fields")), one.get("why", ""), moments(one.get("defaults", {}))
        )
        for question, one in zip(asked, answers, strict=True)
    }


def moments(value: Any) -> Any:
    """A value from JSON with its times as datetimes: releases write one moment in several ways."""
    if isinstance(value, dict):
        return {name: moments(one) for name, one in value.items()}
    if isinstance(value, list):
        return [moments(one) for one in value]
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)
    return value


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d.*")
