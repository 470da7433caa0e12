from __future__ import annotations

from harness.observe.postgres import role_of


def test_role_of_a_dsn() -> None:
    assert role_of("postgresql://fleet%2Da:secret@127.0.0.1:5432/db") == "fleet-a"
