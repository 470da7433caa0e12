from __future__ import annotations

import pytest

from harness.authcache.words import ObjectKind
from harness.observe.postgres import role_of
from harness.observe.statements import classify
from harness.targets.reference import store


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (store.COMBINED_VIEW, ObjectKind.KEY),
        (store.USER, ObjectKind.USER),
        (store.PLANTED_USER, ObjectKind.USER),
        (store.TEAM, ObjectKind.TEAM),
        (store.MEMBERSHIP, ObjectKind.MEMBERSHIP),
        *((statement, None) for statement in store.ADD_SPEND.values()),
        ("SELECT true", None),
        ("BEGIN;", None),
        ('INSERT INTO "LiteLLM_UserTable" (user_id) VALUES ($1)', None),
    ],
)
def test_statements_are_told_apart(statement: str, kind: ObjectKind | None) -> None:
    assert classify(statement) is kind
    assert classify(f"\n  {statement}") is kind


def test_role_of_a_dsn() -> None:
    assert role_of("postgresql://fleet%2Da:secret@127.0.0.1:5432/db") == "fleet-a"
