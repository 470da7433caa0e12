"""Test data: how each made-up variant behaves. `tests.report.sample` makes runs of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.domain.result import Cell

PREMISE = (
    "For a team key without a user, an all-NULL user row is looked up under the key's alias. "
    "Real releases guard against this and show no failure here."
)
SCOPES = ("team", "user", "shared_id", "member")
OBJECTS = {
    "team": {"key": 8, "user": 8, "team": 1},
    "user": {"key": 6, "user": 6},
    "shared_id": {"key": 2, "user": 2, "team": 2, "membership": 2},
    "member": {"key": 3, "user": 3, "team": 1, "membership": 3},
}
PER_WINDOW = {"team": 700, "user": 500, "shared_id": 400, "member": 400}
TTL_S = 2.0
WINDOW_S = 4.0
ROUNDS = 3
JITTER = (0.95, 1.0, 1.06)
STEADY = (0.997, 1.0, 1.004)


@dataclass(frozen=True)
class Behaviour:
    """How one made-up variant behaves: broken lookups, statuses and sizes."""

    title: str
    switches: dict[str, object]
    cells: dict[str, Cell]
    reasons: dict[str, str]
    broken_reads: dict[str, dict[str, float]] = field(default_factory=dict)
    """By scope and object: reads per request that come from a failure."""
    pairs: dict[str, float] = field(default_factory=dict)
    """Log pairs per request by scope."""
    wrong: dict[str, dict[str, float]] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    """A scope's status, where it is not 200."""
    quiet_share: float = 1.0
    """Reads of what does not fail, over the reference line."""
    key_bytes: float = 733.0
    p50: float = 4.1


def switches(**changed: object) -> dict[str, object]:
    base: dict[str, object] = {
        "codec": "exclude_none",
        "key_layout": "raw_ids",
        "membership_budget": "required",
        "redis": "on",
        "memory_payload": "encoded",
        "memory_size": 200,
        "backfill_ttl": "fixed_600s",
        "rewrite": "on",
        "spend_path": "read_modify_write",
        "coalescing": "none",
        "negative_caching": "off",
    }
    return base | changed


def _cells(team: Cell, user: Cell, shared_id: Cell, member: Cell) -> dict[str, Cell]:
    return {"team": team, "user": user, "shared_id": shared_id, "member": member}


FAILS = "2 of 2 user lookups fail to deserialize on every request"
COLLIDES = "the team stored under its raw id is read as a user: 1 failure a request"
REFUSED = "401 where Postgres calls for 200, on every request"
FINE = "right data, no failure, source reads within 5 x the reference line"

MATRIX: dict[str, Behaviour] = {
    "litellm_1_84": Behaviour(
        "What 1.84 to 1.88 do",
        switches(),
        _cells("broken", "healthy", "broken", "broken"),
        {"team": FAILS, "user": FINE, "shared_id": COLLIDES, "member": REFUSED},
        broken_reads={
            "team": {"user": 1.96},
            "shared_id": {"user": 1.0},
            "member": {"membership": 2.97},
        },
        pairs={"team": 1.97, "shared_id": 1.01, "member": 2.99},
        status={"member": "401"},
        p50=6.4,
    ),
    "fix_optional_user_id": Behaviour(
        "The issue's fix 1: user_id optional in the reader",
        switches(codec="optional_user_id"),
        _cells("healthy", "healthy", "hidden", "broken"),
        {
            "team": FINE,
            "user": FINE,
            "shared_id": "no failure, but the team is served as the user, with the team's limits",
            "member": REFUSED,
        },
        broken_reads={"member": {"membership": 2.97}},
        pairs={"member": 2.98},
        wrong={"shared_id": {"user": 0.99}},
        status={"member": "401"},
        p50=4.6,
    ),
    "fix_keep_none": Behaviour(
        "The issue's fix 3: None is kept (1.93 on)",
        switches(codec="keep_none"),
        _cells("broken", "healthy", "broken", "healthy"),
        {
            "team": "the error changes from missing to not a string; " + FAILS,
            "user": FINE,
            "shared_id": COLLIDES,
            "member": FINE,
        },
        broken_reads={"team": {"user": 1.96}, "shared_id": {"user": 1.0}},
        pairs={"team": 1.96, "shared_id": 1.0},
        key_bytes=2253.0,
        p50=6.9,
    ),
    "recommended": Behaviour(
        "What we would ship",
        switches(
            codec="keep_required_none",
            key_layout="all_prefixed",
            backfill_ttl="entry_ttl",
            rewrite="off",
            coalescing="lease",
            spend_path="write_behind",
        ),
        _cells("healthy", "healthy", "healthy", "healthy"),
        dict.fromkeys(SCOPES, FINE),
        quiet_share=0.98,
        key_bytes=449.0,
        p50=2.7,
    ),
}

EQUATIONS = {
    "requests": "requests answered, by status = requests that the replicas completed, by status",
    "redis_lookups": "Redis lookups = memory misses - those that waited before Redis",
    "gets": "GETs and MGET keys sent by the client = those counted by the server",
    "loads": "source reads = loads that ended without a value - waited + refreshes",
    "statements": "source reads - source read errors = calls of the objects' statements",
    "key_spend": "cost of the 2xx replies = key spend in Postgres, in micro-units",
}
