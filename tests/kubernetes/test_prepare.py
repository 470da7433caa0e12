"""`harness prepare`: a fleet's database from inside a cluster, as often as it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from harness.authcache.variants import load_variants
from harness.cli import main
from harness.errors import SetupError, UsageError
from harness.live.prepare import prepare_database
from harness.observe.postgres import statement_counts
from harness.plan.arms import reference_arm
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.sizing import population
from harness.stack.dsn import replaced
from tests.targets.world import running_stack

TARGET = reference_arm(load_variants(None)["recommended"]).target
KEYS = population(load_scenario("smoke", Changes()))
PASSWORD = "o'clock"


@pytest.fixture(scope="module")
def admin_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_stack(tmp_path_factory.mktemp("stack")) as (stack, _):
        assert stack._databases is not None
        yield stack._databases._admin_dsn


@pytest.mark.integration
async def test_a_database_is_prepared_once_and_for_its_role_alone(admin_dsn: str) -> None:
    first = await prepare_database(admin_dsn, "recommended", PASSWORD, TARGET, KEYS)
    again = await prepare_database(admin_dsn, "recommended", PASSWORD, TARGET, KEYS)

    assert (first, again) == (True, False)
    dsn = replaced(admin_dsn, database="recommended", user="recommended", password=PASSWORD)
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval('SELECT count(*) FROM "LiteLLM_VerificationToken"') == len(
        KEYS
    )
    await connection.close()
    admin = await asyncpg.connect(replaced(admin_dsn, database="recommended"))
    assert (await statement_counts(admin, "recommended", TARGET.database.classify)).reads
    await admin.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    await admin.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(
            replaced(admin_dsn, database="recommended", user="stranger", password="x")
        )


@pytest.mark.integration
async def test_a_wrong_password_is_reported_without_it(admin_dsn: str) -> None:
    wrong = replaced(admin_dsn, database="postgres", user="authcache_admin", password="geheim")

    with pytest.raises(SetupError) as told:
        await prepare_database(wrong, "recommended", PASSWORD, TARGET, KEYS, patience_s=0.1)

    assert "cannot be prepared" in str(told.value)
    assert "geheim" not in str(told.value)


async def test_a_role_that_would_have_to_be_quoted_is_refused() -> None:
    with pytest.raises(UsageError, match=r'\[x"; DROP\]'):
        await prepare_database("postgresql://a@b/c", 'x"; DROP', PASSWORD, TARGET, KEYS)


def test_keys_come_from_the_scenario_and_are_always_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        words = ("prepare", "--scenario", "smoke", "--keys-file", str(tmp_path / name))
        assert CliRunner().invoke(main, words).exit_code == 0

    rows = json.loads((tmp_path / "one").read_text())
    assert [row["secret"] for row in rows] == [key.secret for key in KEYS]
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


GIVEN = ("--role-password", "x", "--postgres-dsn", "y")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to prepare"),
        (("--variant", "recommended"), "POSTGRES_DSN and ROLE_PASSWORD"),
        (
            ("--variant", "recomended", "--role-password", "x", "--postgres-dsn", "y"),
            "[recomended]",
        ),
        (
            ("--variant", "recommended", "--role-password", "x", "--postgres-dsn", "y"),
            "POSTGRES_DSN",
        ),
    ],
)
def test_bad_input(words: tuple[str, ...], told: str) -> None:
    ended = CliRunner().invoke(main, ("prepare", *words))

    assert ended.exit_code == 2, ended.output
    assert told in ended.output
    assert "Traceback" not in ended.output
