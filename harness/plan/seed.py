"""Writes a population into a fleet's database, in columns that both targets have."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from harness.domain.population import VirtualKey

_BUDGET = (
    'INSERT INTO "LiteLLM_BudgetTable" (budget_id, max_budget, created_by, updated_by) '
    "VALUES ($1, $2, 'harness', 'harness')"
)
_USER = (
    'INSERT INTO "LiteLLM_UserTable" (user_id, user_alias, max_budget, tpm_limit, rpm_limit, '
    "models) VALUES ($1, $2, $3, $4, $5, $6)"
)
_TEAM = (
    'INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, max_budget, tpm_limit, rpm_limit, '
    "models) VALUES ($1, $2, $3, $4, $5, $6)"
)
_MEMBER = 'INSERT INTO "LiteLLM_TeamMembership" (user_id, team_id, budget_id) VALUES ($1, $2, $3)'
_KEY = (
    'INSERT INTO "LiteLLM_VerificationToken" (token, key_name, key_alias, user_id, team_id, '
    "max_budget, tpm_limit, rpm_limit, models) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)


async def seed_population(connection: asyncpg.Connection, keys: Sequence[VirtualKey]) -> None:
    """Insert all rows in one transaction, then bring the planner's statistics up to date."""
    async with connection.transaction():
        for key in keys:
            await _insert(connection, key)
    await connection.execute("ANALYZE")


async def _insert(connection: asyncpg.Connection, key: VirtualKey) -> None:
    models = list(key.models)
    if key.budget_id is not None:
        await connection.execute(_BUDGET, key.budget_id, key.member_max_budget)
    if key.user_id is not None and key.user_limits is not None:
        limits = key.user_limits
        await connection.execute(
            _USER,
            key.user_id,
            f"user-{key.index}",
            limits.max_budget,
            limits.tpm_limit,
            limits.rpm_limit,
            models,
        )
    if key.team_id is not None and key.team_limits is not None:
        limits = key.team_limits
        # As in the log line, a team's alias is its id.
        await connection.execute(
            _TEAM,
            key.team_id,
            key.team_id,
            limits.max_budget,
            limits.tpm_limit,
            limits.rpm_limit,
            models,
        )
    if key.membership != "none":
        await connection.execute(_MEMBER, key.user_id, key.team_id, key.budget_id)
    limits = key.key_limits
    await connection.execute(
        _KEY,
        key.token,
        f"{key.secret[:6]}...{key.secret[-4:]}",
        key.alias,
        key.user_id,
        key.team_id,
        limits.max_budget,
        limits.tpm_limit,
        limits.rpm_limit,
        models,
    )
