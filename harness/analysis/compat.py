"""Writer by reader: what each variant makes of the entries that each other variant left in Redis.

Nothing runs here. A writer stores the objects of a population as its codec and key layout say, and
a reader asks the keys that it would ask, by its own layout, and reads what is there by its own
codec and models. All fields are compared, not the limits alone. Two replicas of one rollout that
share a Redis are one writer and one reader in both directions.

What is not seen: how long an entry lives and who overwrites whom (`harness loadtest` measures
those), and whether the auth path uses a field that differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, Protocol

from harness.authcache.codecs import load_codec
from harness.authcache.codecs.envelope import nested_model
from harness.authcache.layout import LAYOUTS
from harness.authcache.objects import (
    MODELS,
    Budget,
    CachedObject,
    Key,
    MembershipDefaultNone,
    Team,
    User,
)
from harness.authcache.variants import Variant
from harness.authcache.words import ObjectKind
from harness.errors import DecodeError, EncodeError


class ReadOutcome(StrEnum):
    """What a reader makes of one object that a writer stored, the worst first."""

    OTHER_VALUE = "other value"
    """It reads a value that the writer did not have, or another object in its place."""
    FAILURE = "failure"
    """It finds an entry that it cannot read."""
    FEWER_FIELDS = "fewer fields"
    """A field is absent or at the reader's default where the writer had something else."""
    NOT_READ = "not read"
    """It finds no entry: it asks another key, or the writer stored none."""
    SAME = "same"


ORDER = tuple(ReadOutcome)
HARMFUL = (ReadOutcome.OTHER_VALUE, ReadOutcome.FAILURE)
"""With these a rollout is not safe: wrong data, or a source read and an error for every request."""

Rows = Mapping[ObjectKind, Any]
"""The objects of one virtual key, as Postgres has them."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredEntry:
    """One entry in Redis, and what it was written from."""

    kind: ObjectKind
    payload: bytes
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ReadBack:
    """What a reader got from a payload: the object's fields, or why there is no object."""

    fields: Mapping[str, Any] | None
    why: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What the reader has for a field that a payload lacks."""


class Party(Protocol):
    """A variant as a writer and as a reader of Redis."""

    name: str

    def stores(self, rows: Rows) -> Mapping[str, StoredEntry]:
        """The entries that it leaves in Redis, by cache key."""

    def asks(self, rows: Rows) -> Sequence[tuple[ObjectKind, str]]:
        """The cache keys that it asks Redis for, with the object that it expects there."""

    def read(self, kind: ObjectKind, payload: bytes) -> ReadBack:
        """Read one payload as an object of a kind."""


@dataclass(frozen=True, slots=True)
class CompatReading:
    """One object of one key, written by one party and read by another."""

    outcome: ReadOutcome
    kind: ObjectKind
    asked: str = ""
    """The cache key that the reader asks."""
    found: ObjectKind | None = None
    """The object that the writer stored there; None if there is no entry."""
    lost: tuple[str, ...] = ()
    """Fields that are absent or at the reader's default."""
    changed: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Fields with another value: what was written and what was read."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class CompatCell:
    """All objects of one kind, written by one party and read by another."""

    writer: str
    reader: str
    kind: ObjectKind
    counts: Mapping[ReadOutcome, int]
    fields: tuple[str, ...]
    """Every field that was lost or changed in any object, sorted."""
    added: ReadOutcome | None
    """The worst outcome that an object has here and not where the reader wrote it itself."""
    smallest: Mapping[ReadOutcome, tuple[Rows, CompatReading]]
    """By outcome but ``same``: the smallest objects that show it, and what the reader made of
    them."""

    @property
    def outcome(self) -> ReadOutcome:
        """The worst of all objects."""
        return next(one for one in ORDER if self.counts.get(one))


class ReferenceParty:
    """A variant of the reference proxy: its codec, its key layout and its models."""

    def __init__(self, variant: Variant) -> None:
        switches = variant.switches
        self.name = variant.name
        self._redis = switches.redis == "on"
        self._codec = load_codec(switches.codec)
        self._layout = LAYOUTS[switches.key_layout]
        self._models = dict(MODELS)
        if switches.membership_budget == "default_none":
            self._models[ObjectKind.MEMBERSHIP] = MembershipDefaultNone
        self._written: dict[tuple[ObjectKind, int], tuple[CachedObject, StoredEntry | None]] = {}
        self._read: dict[tuple[ObjectKind, bytes], ReadBack] = {}

    def stores(self, rows: Rows) -> Mapping[str, StoredEntry]:
        """As `Party.stores`, in the order of the auth path: a team's copy comes after the user."""
        entries: dict[str, StoredEntry] = {}
        for kind in (ObjectKind.KEY, ObjectKind.USER, ObjectKind.MEMBERSHIP, ObjectKind.TEAM):
            if self._redis and kind in rows:
                entry = self._encoded(kind, rows[kind])
                if entry is not None:
                    keys = self._keys(kind, rows[kind], copies=True)
                    entries.update(dict.fromkeys(keys, entry))
        return entries

    def asks(self, rows: Rows) -> Sequence[tuple[ObjectKind, str]]:
        """As `Party.asks`. No code path reads a team's second copy as a team."""
        if not self._redis:
            return []
        return [(kind, key) for kind in rows for key in self._keys(kind, rows[kind])]

    def read(self, kind: ObjectKind, payload: bytes) -> ReadBack:
        """As `Party.read`."""
        back = self._read.get((kind, payload))
        if back is None:
            back = self._read[kind, payload] = self._decoded(kind, payload)
        return back

    def _decoded(self, kind: ObjectKind, payload: bytes) -> ReadBack:
        model = self._models[kind]
        try:
            return ReadBack(
                fields_of(self._codec.decode(kind, payload, model)), defaults=_defaults(model)
            )
        except DecodeError as error:
            return ReadBack(None, str(error))

    def _encoded(self, kind: ObjectKind, value: CachedObject) -> StoredEntry | None:
        """The entry; None where the codec refuses. Made once for each object."""
        held = self._written.get((kind, id(value)))
        if held is None:
            written = value
            if type(value) is MODELS[kind] and self._models[kind] is not type(value):
                written = self._models[kind](**value.__dict__)
            try:
                payload = self._codec.encode(kind, written)
                entry: StoredEntry | None = StoredEntry(kind, payload, fields_of(value))
            except EncodeError:
                entry = None
            # The object is kept too, so that no other takes its id.
            held = self._written[kind, id(value)] = (value, entry)
        return held[1]

    def _keys(self, kind: ObjectKind, value: Any, *, copies: bool = False) -> list[str]:
        layout = self._layout
        if kind is ObjectKind.KEY:
            return [layout.key(value.token)]
        if kind is ObjectKind.USER:
            return [layout.user(value.user_id)]
        if kind is ObjectKind.TEAM:
            copy = [layout.team_copy(value.team_id)] if copies else []
            return list(dict.fromkeys([layout.team(value.team_id), *copy]))
        ids = (value.user_id, value.team_id)
        return [layout.membership(*ids), layout.member(*ids)]


def fields_of(value: CachedObject) -> dict[str, Any]:
    """All fields of an object; nested objects as mappings."""
    return {
        name: fields_of(one) if isinstance(one, CachedObject) else one
        for name, one in value.__dict__.items()
    }


def equal(one: Any, other: Any) -> bool:
    """Equal in value and type; datetimes by their instant and by whether they have an offset."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return (one.tzinfo is None) == (other.tzinfo is None) and one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def read_by(
    reader: Party, entries: Mapping[str, StoredEntry], rows: Rows
) -> Iterator[CompatReading]:
    """What a reader makes of the entries of one virtual key, one reading per object.

    An object under two keys is read twice, and the worse reading counts.
    """
    readings: dict[ObjectKind, CompatReading] = {}
    for kind, key in reader.asks(rows):
        reading = _reading(reader, kind, key, entries.get(key))
        known = readings.get(kind)
        if known is None or ORDER.index(reading.outcome) < ORDER.index(known.outcome):
            readings[kind] = reading
    for kind in rows:
        yield readings.get(kind) or CompatReading(
            ReadOutcome.NOT_READ, kind, why="the reader does not ask Redis"
        )


def _reading(reader: Party, kind: ObjectKind, key: str, entry: StoredEntry | None) -> CompatReading:
    if entry is None:
        why = "the writer left no entry under the key that the reader asks"
        return CompatReading(ReadOutcome.NOT_READ, kind, key, why=why)
    back = reader.read(kind, entry.payload)
    if back.fields is None:
        return CompatReading(ReadOutcome.FAILURE, kind, key, entry.kind, why=back.why)
    if entry.kind is not kind:
        changed = {name: (None, value) for name, value in back.fields.items() if value}
        why = f"the writer's {entry.kind} is read as the {kind}"
        return CompatReading(
            ReadOutcome.OTHER_VALUE, kind, key, entry.kind, changed=changed, why=why
        )
    lost, changed = compared(entry, back)
    outcome = ReadOutcome.SAME
    if changed:
        outcome = ReadOutcome.OTHER_VALUE
    elif lost:
        outcome = ReadOutcome.FEWER_FIELDS
    return CompatReading(outcome, kind, key, entry.kind, lost, changed)


@lru_cache(maxsize=1 << 16)
def compared(
    entry: StoredEntry, back: ReadBack
) -> tuple[tuple[str, ...], dict[str, tuple[Any, Any]]]:
    """The fields that a reader lost, and those that it has with another value.

    A field that only the reader knows is neither, nor one that it does not know and that said
    nothing: None, False, an empty list or mapping, which `harness.authcache.digest.digest` counts
    as one value. A field of a nested object is named ``object.field``.
    """
    assert back.fields is not None
    lost: list[str] = []
    changed: dict[str, tuple[Any, Any]] = {}
    _compare("", entry.fields, back.fields, back.defaults, lost, changed)
    return tuple(lost), changed


def _compare(
    prefix: str,
    written: Mapping[str, Any],
    read: Mapping[str, Any],
    defaults: Mapping[str, Any],
    lost: list[str],
    changed: dict[str, tuple[Any, Any]],
) -> None:
    for name, value in written.items():
        full = f"{prefix}{name}"
        if name not in read:
            if not (value is None or value is False or value in ([], {})):
                lost.append(full)
        elif equal(value, read[name]):
            continue
        elif equal(read[name], defaults.get(name)):
            lost.append(full)
        elif isinstance(value, Mapping) and isinstance(read[name], Mapping):
            _compare(f"{full}.", value, read[name], {}, lost, changed)
        else:
            changed[full] = (value, read[name])


@cache
def _defaults(model: type[CachedObject]) -> Mapping[str, Any]:
    return {
        name: one.get_default(call_default_factory=True)
        for name, one in model.model_fields.items()
        if not one.is_required()
    }


def matrix(parties: Sequence[Party], population: Sequence[Rows]) -> list[CompatCell]:
    """One cell for each writer, reader and object, in the parties' order.

    Args:
        parties: writers and readers.
        population: the objects that each writer stores; see `rich_population`.
    """
    stored = {party.name: [party.stores(rows) for rows in population] for party in parties}
    read = {
        (writer.name, reader.name): [
            {one.kind: one for one in read_by(reader, entries, rows)}
            for entries, rows in zip(stored[writer.name], population, strict=True)
        ]
        for writer in parties
        for reader in parties
    }
    cells = []
    for writer in parties:
        for reader in parties:
            own = read[reader.name, reader.name]
            got = read[writer.name, reader.name]
            cells += [_cell(writer, reader, kind, population, got, own) for kind in ObjectKind]
    return cells


def _cell(
    writer: Party,
    reader: Party,
    kind: ObjectKind,
    population: Sequence[Rows],
    got: Sequence[Mapping[ObjectKind, CompatReading]],
    own: Sequence[Mapping[ObjectKind, CompatReading]],
) -> CompatCell:
    counts: dict[ReadOutcome, int] = {}
    first: dict[ReadOutcome, Rows] = {}
    fields: set[str] = set()
    added: set[ReadOutcome] = set()
    for rows, readings, usual in zip(population, got, own, strict=True):
        if kind not in readings:
            continue
        reading = readings[kind]
        counts[reading.outcome] = counts.get(reading.outcome, 0) + 1
        fields.update(reading.lost, reading.changed)
        first.setdefault(reading.outcome, rows)
        if ORDER.index(reading.outcome) < ORDER.index(usual[kind].outcome):
            added.add(reading.outcome)
    shown: dict[ReadOutcome, tuple[Rows, CompatReading]] = {}
    for outcome in (one for one in ORDER if one in first and one is not ReadOutcome.SAME):

        def read(rows: Rows) -> CompatReading | None:
            readings = read_by(reader, writer.stores(rows), rows)
            return next((one for one in readings if one.kind is kind), None)

        def shows(rows: Rows, wanted: ReadOutcome = outcome) -> bool:
            reading = read(rows)
            return reading is not None and reading.outcome is wanted

        least = smallest(first[outcome], shows)
        what = read(least)
        assert what is not None
        shown[outcome] = (least, what)
    worst = min(added, key=ORDER.index, default=None)
    return CompatCell(writer.name, reader.name, kind, counts, tuple(sorted(fields)), worst, shown)


@dataclass(frozen=True, slots=True)
class UpgradeStep:
    """A rollout from one variant to another: for a while both share a Redis."""

    old: str
    new: str
    forward: tuple[CompatCell, ...]
    """What the new one makes of the old one's entries, where that adds something."""
    backward: tuple[CompatCell, ...]
    """What the old one makes of the new one's entries, where that adds something."""

    @property
    def safe(self) -> bool:
        """Whether neither reads wrong data or fails on an object that it reads by itself."""
        return not any(cell.added in HARMFUL for cell in (*self.forward, *self.backward))

    @property
    def must_flush(self) -> bool:
        """Whether the new one would meet harmful entries of the old one after it is gone."""
        return any(cell.added in HARMFUL for cell in self.forward)


def step(cells: Iterable[CompatCell], old: str, new: str) -> UpgradeStep:
    """The rollout between two variants of a matrix."""
    added = [cell for cell in cells if cell.added is not None]
    return UpgradeStep(
        old,
        new,
        tuple(cell for cell in added if (cell.writer, cell.reader) == (old, new)),
        tuple(cell for cell in added if (cell.writer, cell.reader) == (new, old)),
    )


def safe_order(cells: Sequence[CompatCell], names: Sequence[str]) -> list[str] | None:
    """The shortest chain of safe rollouts from the first name to the last, None without one."""
    ways = [[names[0]]]
    seen = {names[0]}
    for way in ways:
        if way[-1] == names[-1]:
            return way
        for name in names:
            if name not in seen and step(cells, way[-1], name).safe:
                seen.add(name)
                ways.append([*way, name])
    return None


# The population: every field of every object, alone and together, in rows that hang together.

_MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def rich_population() -> list[Rows]:
    """The objects of many virtual keys: about 1,000 rows of objects, the same on every call.

    For each object: the plain one, one with every field, and for each field one that has it alone:
    a value that no other field has, the empty value of its type, and None where the model admits
    it. Only what Postgres can hold. In the last part ``user_id`` equals ``team_id``, as for keys of
    the scope ``shared_id``.
    """
    plain = _plain("u", "t")
    found: list[Rows] = [plain]
    for kind, value in plain.items():
        found += [{**plain, kind: one} for one in _varied(value)]
    shared = _plain("s", "s")
    found.append(shared)
    for kind in (ObjectKind.USER, ObjectKind.TEAM):
        found += [{**shared, kind: one} for one in _varied(shared[kind])]
    return found


def _plain(user_id: str, team_id: str) -> dict[ObjectKind, CachedObject]:
    return {
        ObjectKind.KEY: Key(token="k", user_id=user_id, team_id=team_id),  # noqa: S106 - invented
        ObjectKind.USER: User(user_id=user_id),
        ObjectKind.TEAM: Team(team_id=team_id),
        ObjectKind.MEMBERSHIP: MODELS[ObjectKind.MEMBERSHIP](
            user_id=user_id, team_id=team_id, litellm_budget_table=Budget()
        ),
    }


def _varied(value: CachedObject) -> Iterator[CachedObject]:
    fields = type(value).model_fields
    options = {
        name: _options(name, number, one.annotation)
        for number, (name, one) in enumerate(fields.items())
        if name not in _IDS
    }
    yield _with(value, {name: every[0] for name, every in options.items()})
    for name, every in options.items():
        for one in every:
            if not equal(one, getattr(value, name)):
                yield _with(value, {name: one})


_IDS = ("token", "user_id", "team_id")
"""They make the cache keys, so all objects of a key agree in them."""


def _options(name: str, number: int, annotation: Any) -> list[Any]:
    """Values of a field: a distinct one, the empty one, and None where it is admitted."""
    text = str(annotation)
    nullable = [None] if "None" in text else []
    inner = nested_model(annotation)
    if inner is not None:
        full = inner(**{n: _options(n, i, f.annotation)[0] for i, (n, f) in _numbered(inner)})
        return [full, inner(), *nullable]
    both: tuple[Any, Any]
    if "datetime" in text:
        return [_MOMENT + timedelta(seconds=number), *nullable]
    if "list[dict" in text:
        both = ([{name: [number, None]}], [])
    elif "list" in text:
        both = ([f"{name} ü", "b"], [])
    elif "dict[str, int]" in text:
        both = ({name: number}, {})
    elif "dict" in text:
        both = ({name: {"a": [number, 2.5, None, True]}}, {})
    elif "float" in text:
        return [number + 0.5, 0.0, math.inf, *nullable]
    elif "int" in text:
        return [number + 1, 0, 2**63 - 1, *nullable]
    elif "bool" in text:
        both = (True, False)
    else:
        both = (f"{name} ü", "")
    return [*both, *nullable]


def _numbered(model: type[CachedObject]) -> Iterable[tuple[int, tuple[str, Any]]]:
    return enumerate(model.model_fields.items())


def _with(value: CachedObject, changes: Mapping[str, Any]) -> CachedObject:
    return type(value)(**{**value.__dict__, **changes})


def smallest(rows: Rows, shows: Callable[[Rows], bool]) -> Rows:
    """The rows without what a finding does not need: objects first, then fields.

    Each step leaves out one object, or gives one field its default. What remains is needed: leaving
    out any one part of it more loses the finding. `shows` must hold for the rows.
    """
    assert shows(rows)
    smaller = True
    while smaller:
        smaller = False
        for less in _steps(rows):
            if shows(less):
                rows, smaller = less, True
                break
    return rows


def _steps(rows: Rows) -> Iterator[Rows]:
    for kind in rows:
        if len(rows) > 1:
            yield {other: value for other, value in rows.items() if other is not kind}
    for kind, value in rows.items():
        if not isinstance(value, CachedObject):
            continue  # A recorded payload is as it was written.
        for name in told(value):
            one = type(value).model_fields[name]
            if name in _IDS or (one.is_required() and getattr(value, name) is None):
                continue
            default = None if one.is_required() else one.get_default(call_default_factory=True)
            yield {**rows, kind: _with(value, {name: default})}


def told(value: CachedObject) -> dict[str, Any]:
    """The fields that differ from their defaults; those without a default always."""
    return {
        name: one
        for name, one in fields_of(value).items()
        if not equal(one, _defaults(type(value)).get(name, ...))
    }
