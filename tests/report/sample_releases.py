"""Test data: runs of releases that never happened, alone and beside their reference variants.

Only tests import this. The figures are near those of docs/method.md and issue #27874.
"""

from __future__ import annotations

from dataclasses import replace

from harness.analysis.twins import Pair
from harness.domain.result import Equation, Result, VariantResult, Window
from tests.report.behaviours import COLLIDES, FINE, REFUSED, SCOPES, Behaviour, _cells, switches
from tests.report.sample import issue_27874

COST_MICRO = 250
LOST_SHARE = 0.4
"""Of the users' cost, where the cached user is a team."""

_HEALTHY = Behaviour(
    "no failure", switches(), _cells("healthy", "healthy", "healthy", "healthy"),
    dict.fromkeys(SCOPES, FINE),
)  # fmt: skip
_COLLIDING = replace(
    _HEALTHY,
    title="the team lies under the user's id",
    cells=_cells("healthy", "healthy", "broken", "healthy"),
    reasons=_HEALTHY.reasons | {"shared_id": COLLIDES},
    broken_reads={"shared_id": {"user": 1.0}},
    pairs={"shared_id": 1.0},
)
_REFUSING = replace(
    _COLLIDING,
    title="the same, and a cleared budget is refused",
    cells=_cells("healthy", "healthy", "broken", "broken"),
    reasons=_COLLIDING.reasons | {"member": REFUSED},
    broken_reads=_COLLIDING.broken_reads | {"member": {"membership": 2.0}},
    pairs={"shared_id": 1.0, "member": 3.0},
    status={"member": "401"},
)
RELEASES = {
    "litellm==1.83.14": replace(_HEALTHY, title="before the codec"),
    "litellm==1.84.0rc1": _REFUSING,
    "litellm==1.90.0": _COLLIDING,
    "litellm==1.93.0": replace(_HEALTHY, title="None is kept", key_bytes=2322.0),
}
"""What each release does."""
PAIR = Pair("litellm_1_84", "litellm==1.84.0rc1")
OTHER_PAIR = Pair("litellm_1_93", "litellm==1.93.0")


def releases_run() -> Result:
    """Four releases in an order of their own, with what only releases have."""
    names = ("litellm==1.93.0", "litellm==1.83.14", "litellm==1.90.0", "litellm==1.84.0rc1")
    result = _run({name: RELEASES[name] for name in names})
    for name in names:
        change(result, name, backfill_ttl_s={"key": 600.0, "user": 600.0})
    change(result, "litellm==1.83.14", payload_bytes={}, backfill_ttl_s={})
    change(result, "litellm==1.93.0", backfill_ttl_s={"membership": 600.0, "key": 60.0})
    return result


def twins_run() -> Result:
    """Two pairs whose sides do the same, but for the jitter of every window."""
    return _run(
        {
            PAIR.twin: RELEASES[PAIR.release],
            PAIR.release: RELEASES[PAIR.release],
            OTHER_PAIR.twin: RELEASES[OTHER_PAIR.release],
            OTHER_PAIR.release: RELEASES[OTHER_PAIR.release],
        }
    )


def change(result: Result, name: str, **fields: object) -> VariantResult:
    """Give fields of a variant other values, in place; returns the variant."""
    result.variants[name] = result.variants[name].model_copy(update=fields)
    return result.variants[name]


def change_windows(result: Result, name: str, **fields: object) -> None:
    """Give fields of every measured window of a variant other values, in place."""
    windows = result.variants[name].windows
    change(
        result,
        name,
        windows=[w.model_copy(update=fields) if w.phase == "measured" else w for w in windows],
    )


def _run(behaviours: dict[str, Behaviour]) -> Result:
    result = issue_27874(behaviours)
    for name, behaviour in behaviours.items():
        lost = LOST_SHARE if behaviour.pairs else 0.0
        fields: dict[str, object] = {}
        if name.startswith("litellm=="):
            fields = {"target": "litellm", "version": name.partition("==")[2], "switches": {}}
        measured = [w for w in result.variants[name].windows if w.phase == "measured"]
        users = sum(_paid(w, ("user", "shared_id", "member")) for w in measured)
        drift = {"user": round(lost * users * COST_MICRO), "team": 0}
        change(result, name, spend_drift_micro=drift, **fields)
    others = [e for e in result.ledger.equations if e.name != "key_spend"]
    return result.model_copy(
        update={
            "premises": [],
            "expectations": [],
            "ledger": result.ledger.model_copy(update={"equations": others + _costs(result)}),
        }
    )


def _costs(result: Result) -> list[Equation]:
    return [
        Equation(
            name="key_spend",
            variant=name,
            window=window.name,
            description="cost of the 2xx replies = spend of the keys in Postgres",
            left=float(cost := _paid(window, SCOPES) * COST_MICRO),
            right=float(cost),
            residual=0.0,
            status="balanced",
            kind="validity",
        )
        for name, variant in result.variants.items()
        for window in variant.windows
    ]


def _paid(window: Window, scopes: tuple[str, ...]) -> int:
    return sum(
        n for s in scopes for status, n in window.requests.get(s, {}).items() if status[0] == "2"
    )
