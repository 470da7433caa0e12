"""The truth about every key: its right objects, and the status that they call for.

Pure: rows of Postgres in, digests and statuses out. `harness.targets.schema.database`
reads the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.authcache.digest import digest
from harness.authcache.words import KeyScope
from harness.domain.population import MOCK_MODEL, VirtualKey
from harness.targets.base import KeyTruth

Row = Mapping[str, Any]
Table = Mapping[tuple[str, ...], Row]
"""Rows by the columns that identify them."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that authentication reads, at one moment."""

    keys: Table
    """By token."""
    users: Table
    """By ``user_id``."""
    teams: Table
    """By ``team_id``."""
    memberships: Table
    """By ``user_id`` and ``team_id``; ``budget_max`` is the ``max_budget`` of the budget's row."""


def key_truths(
    tables: Tables, keys: Sequence[VirtualKey], *, planted_null_user: bool, now: datetime
) -> dict[int, KeyTruth]:
    """Right digests and statuses by key index.

    Args:
        tables: what Postgres holds.
        keys: the population.
        planted_null_user: with this premise the right user of a team key is an object whose
            ``user_id`` and limits are all NULL.
        now: with a time zone; decides what has expired.
    """
    return {key.index: _key_truth(tables, key, planted_null_user, now) for key in keys}


def _key_truth(tables: Tables, key: VirtualKey, planted: bool, now: datetime) -> KeyTruth:
    rows: dict[str, Row | None] = {"key": tables.keys.get((key.token,))}
    if key.user_id is not None:
        rows["user"] = tables.users.get((key.user_id,))
    elif planted and key.scope == KeyScope.TEAM:
        rows["user"] = {}
    if key.team_id is not None:
        rows["team"] = tables.teams.get((key.team_id,))
    if key.user_id is not None and key.team_id is not None:
        rows["membership"] = tables.memberships.get((key.user_id, key.team_id))
    digests = {kind: digest(kind, row) for kind, row in rows.items()}
    return KeyTruth(digests, expected_status(rows, now))


def expected_status(rows: Mapping[str, Row | None], now: datetime) -> int:
    """The status that the rows behind a key call for, as the reference proxy answers.

    401 for a key that is unknown, blocked or expired, or whose team is blocked; 403 where key,
    user or team may not call the model of the load; 429 where spend has reached a budget; else
    200. If several apply, the first of these; no population has such a key.

    Args:
        rows: by object; None or missing where there is none.
        now: with a time zone. Postgres' timestamps are in UTC and have none.
    """
    key, team = rows["key"], rows.get("team")
    if key is None or key["blocked"] or (team is not None and team["blocked"]):
        return 401
    if key["expires"] is not None and key["expires"].replace(tzinfo=UTC) < now:
        return 401
    present = {kind: row for kind, row in rows.items() if row is not None}
    allowed = [row.get("models") for row in present.values()]
    if any(models and MOCK_MODEL not in models for models in allowed):
        return 403
    for kind, row in present.items():
        budget = row.get("budget_max" if kind == "membership" else "max_budget")
        if budget is not None and (row["spend"] or 0.0) >= budget:
            return 429
    return 200
