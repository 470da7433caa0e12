"""Team keys by the thousand, written with COPY."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from harness.authcache.words import KeyScope
from harness.domain.population import MOCK_MODEL, VirtualKey, make_population

SEED = 1


def team_keys(count: int) -> list[VirtualKey]:
    """Keys of scope ``team``, each with a team of its own."""
    return make_population({KeyScope.TEAM: count}, {}, seed=SEED, model=MOCK_MODEL)


async def copy_population(dsn: str, keys: Sequence[VirtualKey]) -> None:
    """Write team keys and their teams, and bring the planner's statistics up to date."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.copy_records_to_table(
            "LiteLLM_TeamTable",
            columns=("team_id", "team_alias", "max_budget", "tpm_limit", "rpm_limit", "models"),
            records=[_team(key) for key in keys],
        )
        await connection.copy_records_to_table(
            "LiteLLM_VerificationToken",
            columns=(
                *("token", "key_name", "key_alias", "team_id"),
                *("max_budget", "tpm_limit", "rpm_limit", "models"),
            ),
            records=[_key(key) for key in keys],
        )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


def _team(key: VirtualKey) -> tuple[object, ...]:
    limits = key.team_limits
    assert limits is not None, "only team keys are copied"
    return (
        *(key.team_id, key.team_id),
        *(limits.max_budget, limits.tpm_limit, limits.rpm_limit, list(key.models)),
    )


def _key(key: VirtualKey) -> tuple[object, ...]:
    limits = key.key_limits
    return (
        *(key.token, f"{key.secret[:6]}...{key.secret[-4:]}", key.alias, key.team_id),
        *(limits.max_budget, limits.tpm_limit, limits.rpm_limit, list(key.models)),
    )
