"""Recorded payloads: what the corpora hold, and each outcome between two releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.compat import CompatCell, ReadOutcome, matrix
from harness.analysis.recorded import (
    Corpus,
    RecordedParty,
    answered,
    as_text,
    kind_asked,
    kind_of_payload,
    load_corpus,
    questions,
    recorded,
    recorded_population,
    write_corpus,
)
from harness.authcache.words import KeyScope, ObjectKind
from harness.domain.population import make_population
from harness.errors import UsageError
from harness.live.record import set_by
from harness.targets.litellm.inside.read_payloads import read

KEY, USER, TEAM, MEMBERSHIP = ObjectKind
(MEMBER,) = make_population({KeyScope.MEMBER: 1}, {KeyScope.MEMBER: "cleared"}, seed=1, model="m")


def corpus(release: str, team: dict[str, Any] | None, key: str = "team_id:t") -> Corpus:
    entries = {} if team is None else {key: (TEAM, team)}
    return Corpus(release, (entries,), (((TEAM, key),),), ("team",))


def cell(writer: Corpus, reader: Corpus, answer: dict[str, Any] | None = None) -> CompatCell:
    """One cell of two releases, of which the reader gives this answer to every payload."""
    parties = [RecordedParty(writer), RecordedParty(reader)]
    population = recorded_population([writer, reader])
    for party in parties:
        asked = questions(party, parties, population)
        told = answer if party is parties[1] else None
        answers = [told or {"fields": fields} for _, fields in json.loads(as_text(asked))]
        party.answers |= answered(asked, f"a line of a library\n{json.dumps(answers)}\n")
    found = matrix(parties, population)
    names = (writer.release, reader.release, TEAM)
    return next(c for c in found if (c.writer, c.reader, c.kind) == names)


OLD = corpus("old", {"team_id": "t", "spend": 1.5, "new_limit": 0, "empty": None, "off": False})


@pytest.mark.parametrize(
    ("answer", "outcome", "fields"),
    [
        (None, ReadOutcome.SAME, ()),
        ({"fields": {"team_id": "t", "spend": 1.5, "new_limit": 0, "x": 1}}, ReadOutcome.SAME, ()),
        ({"fields": {"team_id": "t", "spend": 1.5}}, ReadOutcome.FEWER_FIELDS, ("new_limit",)),
        (
            {"fields": {"team_id": "t", "spend": 0.0, "new_limit": 0}, "defaults": {"spend": 0.0}},
            ReadOutcome.FEWER_FIELDS,
            ("spend",),
        ),
        (
            {"fields": {"team_id": "t", "spend": 2.5, "new_limit": 0}, "defaults": {"spend": 0.0}},
            ReadOutcome.OTHER_VALUE,
            ("spend",),
        ),
        ({"why": "team_id\n  Field required"}, ReadOutcome.FAILURE, ()),
    ],
)  # fmt: skip
def test_a_cell_is_what_the_reader_says(
    answer: dict[str, Any] | None, outcome: ReadOutcome, fields: tuple[str, ...]
) -> None:
    found = cell(OLD, corpus("new", {"team_id": "t"}), answer)

    assert (found.outcome, found.fields) == (outcome, fields)


def test_an_entry_under_a_key_that_the_reader_does_not_ask_is_not_read() -> None:
    assert cell(OLD, corpus("new", {"team_id": "t"}, "team:t")).outcome is ReadOutcome.NOT_READ
    assert cell(corpus("old", None), corpus("new", None)).outcome is ReadOutcome.NOT_READ


def test_corpora_of_different_virtual_keys_are_refused() -> None:
    other = Corpus("new", ({}, {}), ((), ()), ("team", "user"))
    with pytest.raises(UsageError, match="--record old --record new"):
        recorded_population([OLD, other])


def test_answers_that_are_missing_or_cut_off_are_an_error() -> None:
    asked = [(TEAM, b"{}"), (USER, b"{}")]
    for text in ("", "Traceback", "[]", '[{"why": "x"}]'):
        with pytest.raises(ValueError):  # noqa: PT011 - json's and zip's own texts
            answered(asked, text)


def test_what_was_written_is_read_back_and_other_entries_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team: dict[str, Any] = {"team_id": MEMBER.team_id, "members_with_roles": []}
    entries = [
        (f"team_id:{MEMBER.team_id}", team | {"spend": 1.0}),
        (f"team_id:{MEMBER.team_id}", team),
        (f"spend:team:{MEMBER.team_id}", 1.5),
        ("team_id:another", team),
    ]
    asked = [f"team_id:{MEMBER.team_id}", f"spend:team:{MEMBER.team_id}", MEMBER.token]

    path = write_corpus("litellm==9.9.9", [MEMBER], entries, asked, tmp_path / "corpus")
    monkeypatch.setattr("harness.analysis.recorded.files", lambda _: tmp_path)

    assert path.name == "litellm-9.9.9.json"
    write_corpus("litellm==9.10.0", [], [], [], tmp_path / "corpus")
    assert recorded() == ["litellm==9.9.9", "litellm==9.10.0"]
    assert load_corpus("litellm==9.9.9") == Corpus(
        "litellm==9.9.9",
        ({f"team_id:{MEMBER.team_id}": (TEAM, team)},),
        (((KEY, MEMBER.token), (TEAM, f"team_id:{MEMBER.team_id}")),),
        ("member, cleared membership",),
    )
    assert MEMBER.secret not in path.read_text()
    with pytest.raises(UsageError, match=r"--record litellm==1\.2\.3"):
        load_corpus("litellm==1.2.3")


def test_cache_keys_of_all_releases_are_told_apart() -> None:
    user, team = MEMBER.user_id, MEMBER.team_id
    expected = {
        MEMBER.token: KEY,
        user: USER,
        f"team_id:{team}": TEAM,
        f"team_membership:{user}:{team}": MEMBERSHIP,
        f"{team}_{user}": MEMBERSHIP,
        team: None,
        f"team_alias:{team}": None,
    }
    assert {key: kind_asked(str(key), MEMBER) for key in expected} == expected


@pytest.mark.parametrize("name", recorded())
def test_a_recorded_release_holds_every_object_under_the_keys_that_it_asks(name: str) -> None:
    found = load_corpus(name)

    assert len(found.scopes) == 8
    for entries, asked in zip(found.entries, found.asked, strict=True):
        for key, (kind, payload) in entries.items():
            assert kind_of_payload(payload) is kind
            if "team_membership" in key or "_" in key.removeprefix("team_id:"):
                assert kind is MEMBERSHIP
            if key.startswith("team_id:"):
                assert kind is TEAM
        assert {KEY} <= {kind for kind, _ in asked}
    kinds = {kind for entries in found.entries for kind, _ in entries.values()}
    assert kinds == set(ObjectKind)


class Model:
    """A release's model, as far as the reader uses it."""

    model_fields: dict[str, Any] = {}  # noqa: RUF012

    @staticmethod
    def model_validate(payload: Any) -> None:
        raise ValueError(f"refused {payload}")


def test_the_reader_gives_the_reason_of_a_payload_that_the_codec_refuses() -> None:
    assert read({"a": 1}, Model, lambda *_: None) == {"why": "refused {'a': 1}"}


def test_a_key_that_held_a_user_and_a_team_is_recorded_with_both(tmp_path: Path) -> None:
    (shared,) = make_population({"shared_id": 1}, {"shared_id": "cleared"}, seed=1, model="m")
    key = str(shared.user_id)
    user, team = {"user_id": key, "teams": []}, {"team_id": key, "members_with_roles": []}

    path = write_corpus("r", [shared], [(key, user), (key, team), (key, user)], [key], tmp_path)

    rows = json.loads(path.read_text())["keys"]
    assert [row["entries"][key]["object"] for row in rows] == ["user", "team"]
    assert [row["scope"][-10:] for row in rows] == ["membership", "in between"]


def test_one_moment_in_two_spellings_is_the_same() -> None:
    old = corpus("old", {"team_id": "t", "at": "2026-01-02T03:04:05.5+00:00", "on": {"a": [1]}})
    same = {"fields": {"team_id": "t", "at": "2026-01-02T03:04:05.500000Z", "on": {"a": [1]}}}
    later = {"fields": {"team_id": "t", "at": "2026-01-02T03:04:06Z", "on": {"a": [2], "b": 1}}}

    assert cell(old, corpus("new", {"team_id": "t"}), same).outcome is ReadOutcome.SAME
    changed = cell(old, corpus("new", {"team_id": "t"}), later)
    assert (changed.outcome, changed.fields) == (ReadOutcome.OTHER_VALUE, ("at", "on.a"))


@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.text("ab:-_", min_size=1)
)
def test_what_monitor_shows_of_a_set_is_what_was_set(value: dict[str, Any], key: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    shown = "".join(
        {"\\": "\\\\", '"': '"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(chr(byte))
        or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
        for byte in text.encode(errors="replace")
    )

    for command in (f"SET {key} {shown} EX 60", f"SET {key} {shown}", f"SETEX {key} 60 {shown}"):
        assert set_by(command) == (key, text.encode(errors="replace").decode())


def test_other_commands_set_nothing() -> None:
    for command in ("GET a", "SET a 1.5 EX 60", "INCRBYFLOAT a 1", "EVALSHA x 1 {a} b"):
        assert set_by(command) is None
