"""The truth about every key: its right objects, why it must be refused, and with which status.

Pure: rows of Postgres in, digests and statuses out. `harness.targets.schema.database`
reads the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from harness.authcache.digest import digest
from harness.authcache.words import KeyScope
from harness.domain.population import MOCK_MODEL, VirtualKey
from harness.targets.base import KeyTruth

Row = Mapping[str, Any]
Table = Mapping[tuple[str, ...], Row]
"""Rows by the columns that identify them."""


OWNERS: Mapping[str, str] = {"key": "key", "user": "user", "team": "team", "membership": "member"}
"""The owner of a budget, as the names of refusals have it, by object."""


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


OK = HTTPStatus.OK.value

STATUSES: Mapping[str, int] = {
    "unknown": 401,
    "blocked": 401,
    "team_blocked": 401,
    "expired": 401,
    "wrong_model": 403,
    **{f"{owner}_{why}": 429 for owner in OWNERS.values() for why in ("budget", "zero")},
}
"""The status of each refusal, as the reference proxy answers; 200 where it would not refuse.

A release may have its own (`harness.targets.litellm.target.REFUSALS`). A budget of 0 is a case
of its own, not one that is used up: code that takes 0 for no budget admits it.
"""


def key_truths(
    tables: Tables,
    keys: Sequence[VirtualKey],
    *,
    planted_null_user: bool,
    now: datetime,
    statuses: Mapping[str, int] = STATUSES,
) -> dict[int, KeyTruth]:
    """Right digests and statuses by key index.

    Args:
        tables: what Postgres holds.
        keys: the population.
        planted_null_user: with this premise the right user of a team key is an object whose
            ``user_id`` and limits are all NULL.
        now: with a time zone; decides what has expired.
        statuses: of each refusal.
    """
    return {key.index: _key_truth(tables, key, planted_null_user, now, statuses) for key in keys}


def _key_truth(
    tables: Tables, key: VirtualKey, planted: bool, now: datetime, statuses: Mapping[str, int]
) -> KeyTruth:
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
    why = refusal(rows, now)
    status = statuses[why] if why else OK
    return KeyTruth(digests, status, "" if status == OK else why)


def expected_status(rows: Mapping[str, Row | None], now: datetime) -> int:
    """The status that the rows behind a key call for, as the reference proxy answers.

    Args:
        rows: by object; None or missing where there is none.
        now: with a time zone. Postgres' timestamps are in UTC and have none.
    """
    why = refusal(rows, now)
    return STATUSES[why] if why else OK


def refusal(rows: Mapping[str, Row | None], now: datetime) -> str:
    """Why the rows behind a key call for a refusal: a name in `STATUSES`, empty for none.

    If several apply, the first in the order of `STATUSES`; no population has such a key.

    Args:
        rows: by object; None or missing where there is none.
        now: with a time zone. Postgres' timestamps are in UTC and have none.
    """
    key, team = rows["key"], rows.get("team")
    if key is None:
        return "unknown"
    if key["blocked"] or (team is not None and team["blocked"]):
        return "blocked" if key["blocked"] else "team_blocked"
    if key["expires"] is not None and key["expires"].replace(tzinfo=UTC) < now:
        return "expired"
    present = {kind: row for kind, row in rows.items() if row is not None}
    allowed = [row.get("models") for row in present.values()]
    if any(models and MOCK_MODEL not in models for models in allowed):
        return "wrong_model"
    for kind, row in present.items():
        budget = row.get("budget_max" if kind == "membership" else "max_budget")
        if budget is not None and (row["spend"] or 0.0) >= budget:
            return f"{OWNERS[kind]}_{'budget' if budget else 'zero'}"
    return ""
