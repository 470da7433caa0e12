"""The toy as a kind of target: its variants, its tables, and what is right by them.

Its tables have one row for each object, with all fields in a JSON column. It knows no premises and
no Redis, and refuses keys whose user_id is their team_id.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import asyncpg

from harness.authcache.digest import digest
from harness.authcache.words import KeyScope, ObjectKind
from harness.domain.population import Limits, VirtualKey
from harness.domain.progress import Progress
from harness.errors import SetupError, UnknownNameError
from harness.targets.base import (
    ContainerContext,
    Database,
    KeyTruth,
    ProcessSpec,
    ReplicaContext,
    Target,
    TargetKind,
)

SERVE = Path(__file__).with_name("serve.py")
SETTINGS_VARIABLE = "TOY_SETTINGS"
RESET = ("SELECT pg_advisory_unlock_all()", "CLOSE ALL", "UNLISTEN *", "RESET ALL")
"""What asyncpg's pool sends when it takes back a connection."""
_READS = re.compile(r"SELECT body FROM toy_(\w+) WHERE id = \$1")


@dataclass(frozen=True)
class Toy:
    """A variant; ``wrong`` serves a member its team instead of its user."""

    name: str
    title: str
    wrong: bool = False


TOYS = {
    toy.name: toy
    for toy in (Toy("toy", "A toy"), Toy("toy_wrong", "A toy that mixes up", wrong=True))
}


def ids(key: VirtualKey) -> dict[ObjectKind, str]:
    """The objects of a key: which row of which table."""
    found = {ObjectKind.KEY: key.token}
    if key.user_id is not None:
        found[ObjectKind.USER] = key.user_id
    if key.team_id is not None:
        found[ObjectKind.TEAM] = key.team_id
    if key.user_id is not None and key.team_id is not None:
        found[ObjectKind.MEMBERSHIP] = f"{key.user_id} {key.team_id}"
    return found


class ToyDatabase(Database):
    """Four tables, ``toy_key`` to ``toy_membership``."""

    async def seed(self, connection: asyncpg.Connection, keys: Sequence[VirtualKey]) -> None:
        for key in keys:
            for kind, fields in _fields(key):
                await connection.execute(
                    f"INSERT INTO toy_{kind} (id, body) VALUES ($1, $2) "
                    "ON CONFLICT DO NOTHING",  # owners that keys share
                    ids(key)[kind],
                    json.dumps(fields),
                )

    async def seeded(self, connection: asyncpg.Connection) -> bool:
        if await connection.fetchval("SELECT to_regclass('toy_key')") is None:
            return False
        return bool(await connection.fetchval("SELECT count(*) FROM toy_key"))

    def classify(self, statement: str) -> ObjectKind | None:
        found = _READS.fullmatch(statement)
        return ObjectKind(found[1]) if found else None

    def name_other(self, statement: str) -> str | None:
        if statement.startswith("WITH c2 AS (UPDATE toy_key "):
            return "charge"
        return "reset" if statement in RESET else None

    def rows(self, key: VirtualKey) -> dict[ObjectKind, str]:
        return {kind: ids(key)[kind] for kind, _ in _fields(key)}

    async def spend_micro(self, connection: asyncpg.Connection) -> dict[ObjectKind, dict[str, int]]:
        return {
            kind: {
                row["id"]: row["spent_micro"]
                for row in await connection.fetch(f"SELECT id, spent_micro FROM toy_{kind}")
            }
            for kind in ObjectKind
        }

    async def truth(
        self,
        connection: asyncpg.Connection,
        keys: Sequence[VirtualKey],
        *,
        planted_null_user: bool,
    ) -> dict[int, KeyTruth]:
        assert not planted_null_user, "nothing can be planted in a toy"
        rows = {
            (kind, row["id"]): json.loads(row["body"])
            for kind in ObjectKind
            for row in await connection.fetch(f"SELECT id, body FROM toy_{kind}")
        }
        return {
            key.index: KeyTruth(
                {kind: digest(kind, rows.get((kind, id_))) for kind, id_ in ids(key).items()},
                *_called_for(key),
            )
            for key in keys
        }


class ToyTarget(Target):
    """One variant."""

    kind = "toy"
    version = "3"
    uses_redis = False
    readiness_path = "/ready"
    ready_timeout_s = 60.0
    takes_premises = False
    notes = ("A toy takes part.",)
    database = ToyDatabase()

    def __init__(self, toy: Toy) -> None:
        self._toy = toy

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        assert not has
        connection = await asyncpg.connect(dsn)
        try:
            for kind in ObjectKind:
                await connection.execute(
                    f"CREATE TABLE toy_{kind} (id text PRIMARY KEY, body text NOT NULL, "
                    "spent_micro bigint NOT NULL DEFAULT 0)"
                )
        finally:
            await connection.close()

    def process(self, context: ReplicaContext) -> ProcessSpec:
        assert context.workers == 1, "one process on two sockets"
        settings = {
            "variant": context.fleet,
            "dsn": context.dsn,
            "ttl_s": context.settings.ttl_s,
            "cost_micro": context.settings.cost_micro,
            "wrong": self._toy.wrong,
        }
        sockets = (str(context.listen_fd), str(context.metrics_fds[0]))
        argv = (sys.executable, str(SERVE), *sockets)
        return ProcessSpec(argv, {SETTINGS_VARIABLE: json.dumps(settings)})

    def container(self, context: ContainerContext) -> NoReturn:
        raise SetupError(f"The toy [{context.fleet}] runs in no container.")

    def describe(self) -> Mapping[str, Any]:
        return {"wrong": self._toy.wrong}


class ToyKind(TargetKind[Toy]):
    """All toys."""

    name = "toy"
    database = ToyDatabase()

    def owns(self, variant: str) -> bool:
        return variant.startswith("toy")

    def known(self, name: str) -> bool:
        return name in TOYS

    def choose(self, variant: str) -> Toy:
        if variant not in TOYS:
            raise UnknownNameError("toy", variant, TOYS)
        return TOYS[variant]

    async def target(self, choice: Toy, progress: Progress) -> Target:
        progress.note(f"winding up {choice.name}")
        return ToyTarget(choice)


def _called_for(key: VirtualKey) -> tuple[int, str]:
    """Status and refusal: a toy knows of no block, expiry or budget."""
    if not key.has_row:
        return 401, "unknown"
    return (403, "wrong_model") if key.scope == KeyScope.SHARED_ID else (200, "")


def _fields(key: VirtualKey) -> Iterator[tuple[ObjectKind, dict[str, Any]]]:
    """The rows of a key. A membership without a budget has one too, unlike one that is absent."""
    both: dict[str, Any] = {"user_id": key.user_id, "team_id": key.team_id}
    models = list(key.models)
    if key.has_row:
        yield (
            ObjectKind.KEY,
            {"token": key.token, **both, **_limits(key.key_limits), "models": models},
        )
    if key.user_limits is not None:
        limits = _limits(key.user_limits)
        yield ObjectKind.USER, {"user_id": key.user_id, **limits, "models": models}
    if key.team_limits is not None:
        limits = _limits(key.team_limits)
        yield ObjectKind.TEAM, {"team_id": key.team_id, **limits, "models": models}
    if key.membership != "none":
        budget = {"budget_id": key.budget_id, "budget_max": key.member_max_budget}
        yield ObjectKind.MEMBERSHIP, {**both, **budget}


def _limits(limits: Limits) -> dict[str, float | None]:
    return {
        "max_budget": limits.max_budget,
        "tpm_limit": limits.tpm_limit,
        "rpm_limit": limits.rpm_limit,
    }
