"""The matrix of writers and readers: each outcome from a planted break, and rollouts from it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import compat
from harness.analysis.compat import (
    CompatCell,
    ReadOutcome,
    ReferenceParty,
    Rows,
    matrix,
    read_by,
    rich_population,
    safe_order,
    smallest,
    step,
    told,
)
from harness.authcache.codecs.json_models import KeepNone
from harness.authcache.objects import MODELS, CachedObject, Key, Membership, Team, User
from harness.authcache.variants import Variant, load_variants, override
from harness.authcache.words import ObjectKind
from harness.errors import CodecError
from tests.authcache.strategies import lost, objects

KEY, USER, TEAM, MEMBERSHIP = ObjectKind
SAME, FEWER, OTHER = ReadOutcome.SAME, ReadOutcome.FEWER_FIELDS, ReadOutcome.OTHER_VALUE
FAILURE, NOT_READ = ReadOutcome.FAILURE, ReadOutcome.NOT_READ
KNOWN = load_variants()


class DropsTpm(KeepNone):
    """Planted: a writer that loses one limit of teams and no other field."""

    name = "drops_tpm"

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:  # noqa: ARG002
        return value.model_dump_json(warnings=False, exclude={"tpm_limit"}).encode()


class DoublesBudgets(KeepNone):
    """Planted: a reader that reads twice the budget."""

    name = "doubles_budgets"

    def decode(self, kind: ObjectKind, payload: bytes, model: Any) -> Any:
        value = super().decode(kind, payload, model)
        if getattr(value, "max_budget", None):
            value.max_budget *= 2
        return value


def variant(name: str, base: str = "litellm_1_94", **switches: str) -> Variant:
    changed = override(KNOWN[base], switches)
    return Variant(name, "", "", changed.switches)


def of_test(codec: type[KeepNone]) -> str:
    return f"{__name__}:{codec.__name__}"


@cache
def population() -> list[Rows]:
    return rich_population()


def cells(*variants: Variant) -> dict[tuple[str, str, ObjectKind], CompatCell]:
    found = matrix([ReferenceParty(one) for one in variants], population())
    return {(one.writer, one.reader, one.kind): one for one in found}


def shown(cell: CompatCell, outcome: ReadOutcome) -> dict[ObjectKind, dict[str, Any]]:
    return {kind: told(value) for kind, value in cell.smallest[outcome][0].items()}


def test_what_keeps_every_field_is_the_same_for_all_objects() -> None:
    found = cells(KNOWN["litellm_1_93"], KNOWN["litellm_1_94"])

    assert len(found) == 2 * 2 * 4
    assert {one.outcome for one in found.values()} == {SAME}
    assert {sum(one.counts.values()) for one in found.values()} == {len(population())}


def test_every_field_of_every_object_is_varied_in_the_population() -> None:
    for kind, model in MODELS.items():
        values = [rows[kind] for rows in population()]
        for name, one in model.model_fields.items():
            if name not in ("token", "user_id", "team_id"):
                different = {repr(getattr(value, name)) for value in values}
                assert len(different) >= 2, (kind, name)
                admits = "None" in str(one.annotation)
                assert not admits or "None" in different, (kind, name)


def test_a_field_that_a_writer_drops_is_found_alone() -> None:
    found = cells(variant("old"), variant("new", codec=of_test(DropsTpm)))

    cell = found["new", "old", TEAM]
    assert (cell.outcome, cell.fields, cell.added) == (FEWER, ("tpm_limit",), FEWER)
    assert shown(cell, FEWER) == {TEAM: {"team_id": "t", "tpm_limit": 9}}
    assert found["old", "new", TEAM].outcome is SAME
    # Keys and users have the field too; memberships do not.
    assert found["new", "old", MEMBERSHIP].outcome is SAME


def test_a_value_that_a_reader_changes_is_found_and_shrunk() -> None:
    found = cells(variant("old"), variant("new", codec=of_test(DoublesBudgets)))

    cell = found["old", "new", USER]
    assert (cell.outcome, cell.fields) == (OTHER, ("max_budget",))
    rows, reading = cell.smallest[OTHER]
    (written, read) = reading.changed["max_budget"]
    assert read == 2 * written
    assert told(rows[USER]).keys() == {"user_id", "max_budget"}
    assert found["new", "old", USER].outcome is SAME


def test_a_team_that_passes_for_a_user_is_another_value() -> None:
    found = cells(KNOWN["litellm_1_84"], KNOWN["fix_optional_user_id"])

    cell = found["litellm_1_84", "fix_optional_user_id", USER]
    assert cell.outcome is OTHER
    assert shown(cell, OTHER) == {USER: {"user_id": "s"}, TEAM: {"team_id": "s"}}
    assert cell.smallest[OTHER][1].found is TEAM
    assert found["litellm_1_84", "litellm_1_84", USER].outcome is FAILURE


def test_a_key_that_the_reader_does_not_ask_is_not_read() -> None:
    found = cells(KNOWN["litellm_1_84"], KNOWN["all_prefixed"])

    for kind, outcome in {KEY: NOT_READ, USER: NOT_READ, TEAM: SAME}.items():
        assert found["litellm_1_84", "all_prefixed", kind].counts == {outcome: len(population())}
    assert found["litellm_1_84", "all_prefixed", USER].smallest[NOT_READ][1].asked == "user_id:u"
    # A membership has two keys, one of which both ask: the worse counts.
    member = found["litellm_1_84", "all_prefixed", MEMBERSHIP]
    assert member.smallest[NOT_READ][1].asked == "team_member:t_u"
    assert member.counts[NOT_READ] > len(population()) - 5
    assert SAME not in member.counts


@pytest.mark.parametrize(
    ("writer", "reader"), [("memory_only", "litellm_1_84"), ("raw_redis", "litellm_1_93")]
)
def test_a_writer_that_stores_nothing_is_not_read(writer: str, reader: str) -> None:
    found = cells(KNOWN[writer], KNOWN[reader])

    assert {found[writer, reader, kind].outcome for kind in ObjectKind} == {NOT_READ}


def test_a_cleared_budget_fails_up_to_1_88_and_is_no_news_there() -> None:
    found = cells(KNOWN["litellm_1_84"], KNOWN["litellm_1_91"])

    old = found["litellm_1_91", "litellm_1_84", MEMBERSHIP]
    assert (old.outcome, old.added) == (FAILURE, None)
    assert shown(old, FAILURE) == {
        MEMBERSHIP: {"user_id": "u", "team_id": "t", "litellm_budget_table": None}
    }
    assert found["litellm_1_84", "litellm_1_91", MEMBERSHIP].outcome is FEWER


def test_rollouts_say_what_is_safe_in_both_directions_and_what_must_be_flushed() -> None:
    names = ("litellm_1_84", "litellm_1_91", "litellm_1_93", "litellm_1_94")
    found = [*cells(*(KNOWN[name] for name in names)).values()]

    assert step(found, "litellm_1_93", "litellm_1_94").safe
    risky = step(found, "litellm_1_84", "litellm_1_91")
    assert (risky.safe, risky.must_flush) == (False, True)
    assert [cell.kind for cell in risky.forward if cell.added is FAILURE] == [USER]
    # Back from 1.91 to 1.84 nothing of 1.91's harms that 1.84 does not do to itself.
    back = step(found, "litellm_1_91", "litellm_1_84")
    assert (back.safe, back.must_flush) == (False, False)
    assert safe_order(found, names) is None
    assert safe_order(found, names[1:]) == ["litellm_1_91", "litellm_1_94"]


@pytest.mark.parametrize("other", ["litellm_1_84", "litellm_1_91", "litellm_1_94", "envelope"])
def test_recommended_has_keys_of_its_own_and_can_be_rolled_out_beside_any(other: str) -> None:
    cells = matrix(
        [ReferenceParty(KNOWN[name]) for name in (other, "recommended")], rich_population()
    )

    for one in (step(cells, other, "recommended"), step(cells, "recommended", other)):
        assert one.safe
        assert not one.must_flush
        assert {cell.added for cell in (*one.forward, *one.backward)} == {NOT_READ}


def test_a_detour_is_found_where_the_direct_rollout_is_not_safe() -> None:
    def cell(writer: str, reader: str, added: ReadOutcome | None) -> CompatCell:
        return CompatCell(writer, reader, KEY, {SAME: 1}, (), added, {})

    found = [cell(a, b, FAILURE if {a, b} == {"a", "c"} else None) for a in "abc" for b in "abc"]

    assert safe_order(found, ("a", "b", "c")) == ["a", "b", "c"]


def rows_of(data: st.DataObject, shared: bool) -> Rows:
    ids: dict[str, st.SearchStrategy[Any]] = {
        "user_id": st.just("s" if shared else "u"),
        "team_id": st.just("s" if shared else "t"),
    }
    return {
        KEY: data.draw(objects(Key, ids | {"token": st.just("k")})),
        USER: data.draw(objects(User, {"user_id": ids["user_id"]})),
        TEAM: data.draw(objects(Team, {"team_id": ids["team_id"]})),
        MEMBERSHIP: data.draw(objects(Membership, ids)),
    }


@given(data=st.data())
def test_any_objects_are_read_as_the_codecs_alone_say(data: st.DataObject) -> None:
    """An independent oracle: encode, decode and compare without keys, cells or caches."""
    names = st.sampled_from(
        ["litellm_1_91", "litellm_1_93", "recommended", "fix_keep_required_none"]
    )
    writer, reader = (
        ReferenceParty(KNOWN[data.draw(names)]),
        ReferenceParty(KNOWN[data.draw(names)]),
    )
    rows = rows_of(data, shared=False)
    entries = writer.stores(rows)

    for reading in read_by(reader, entries, rows):
        at = {key: entries.get(key) for kind, key in reader.asks(rows) if kind is reading.kind}
        if None in at.values():
            assert reading.outcome in (NOT_READ, FAILURE)
            continue
        entry = at[reading.asked]
        assert entry is not None
        model = reader._models[reading.kind]
        try:
            back = reader._codec.decode(reading.kind, entry.payload, model)
        except CodecError:
            assert reading.outcome is FAILURE
            continue
        differs = lost(model(**rows[reading.kind].__dict__), back)
        assert differs.keys() == {*reading.lost, *reading.changed}
        assert (reading.outcome is SAME) == (not differs)


@given(data=st.data())
def test_what_is_shrunk_still_shows_and_cannot_lose_one_part_more(data: st.DataObject) -> None:
    party = ReferenceParty(KNOWN["litellm_1_84"])
    rows = rows_of(data, shared=True)

    def shows(some: Rows) -> bool:
        read = {one.kind: one.outcome for one in read_by(party, party.stores(some), some)}
        return read.get(USER) is FAILURE

    assert shows(rows)
    least = smallest(rows, shows)
    assert {kind: told(value) for kind, value in least.items()} == {
        USER: {"user_id": "s"},
        TEAM: {"team_id": "s"},
    }
    assert not any(shows(less) for less in compat._steps(least))
