"""Changes: edits of objects while load runs, and what became of each.

An action changes one object of one key, or makes a key. It works on keys, users and teams of its
own, so that no change disturbs another. `harness.targets.schema.management` has the calls and
statements that carry an action out; `harness.analysis.clock` says how long workers served what was
no longer true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.errors import UnknownNameError, UsageError

Way = Literal["api", "sql"]
"""``api``: the target's own management endpoints; ``sql``: an edit behind the gateway's back."""
Effect = Literal["refuse", "admit", "differ"]
"""What a change does to a reply: it must be refused from now on, it must be admitted from now on,
or it is admitted with other limits."""
Outcome = Literal["done", "committed", "refused", "not_there"]
"""``done``: answered 2xx (or the statement was committed) and Postgres holds the change.
``committed``: Postgres holds it although the answer was an error. ``refused``: Postgres does not
hold it. ``not_there``: the release does not have the action."""


NEWS_S = 0.5
"""After the answer to a change, who is to hear of it has: a message takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that an operator does to an object."""

    object: Literal["key", "user", "team", "membership"]
    effect: Effect
    summary: str
    """What it does, for people: ``"block a key"``."""
    scopes: tuple[str, ...] = ("team", "user", "shared_id", "member")
    """Key scopes that have such an object."""


_TEAMS = ("team", "shared_id", "member")
_USERS = ("user", "shared_id", "member")
_MEMBERS = ("shared_id", "member")

ACTIONS: Mapping[str, Action] = {
    "key-block": Action("key", "refuse", "block a key"),
    "key-unblock": Action("key", "admit", "unblock a blocked key"),
    "key-delete": Action("key", "refuse", "delete a key"),
    "key-regenerate": Action("key", "refuse", "replace a key's secret; the old one is refused"),
    "key-new": Action("key", "admit", "create a key whose secret was refused before"),
    "key-models": Action("key", "refuse", "take the model from a key's list"),
    "key-budget": Action("key", "refuse", "set a key's budget to less than it has spent"),
    "key-budget-raised": Action("key", "admit", "raise a key's budget, which was used up"),
    "key-limits": Action("key", "differ", "change a key's token limit"),
    "key-blocked": Action("key", "refuse", "update a key with blocked = true"),
    "team-block": Action("team", "refuse", "block a team", _TEAMS),
    "team-unblock": Action("team", "admit", "unblock a blocked team", _TEAMS),
    "team-models": Action("team", "refuse", "take the model from a team's list", _TEAMS),
    "team-limits": Action("team", "differ", "change a team's token limit", _TEAMS),
    "team-delete": Action("team", "refuse", "delete a team with its keys", _TEAMS),
    "user-models": Action("user", "refuse", "take the model from a user's list", _USERS),
    "user-limits": Action("user", "differ", "change a user's token limit", _USERS),
    "user-delete": Action("user", "refuse", "delete a user with its keys", _USERS),
    "member-budget": Action(
        "membership", "refuse", "set a member's budget to less than it has spent", _MEMBERS
    ),
    "member-budget-set": Action("membership", "differ", "give a member a budget", _MEMBERS),
    "member-budget-cleared": Action("membership", "differ", "clear a member's budget", _MEMBERS),
    "member-remove": Action("membership", "refuse", "remove a member from its team", _MEMBERS),
}
"""Every action, by name. What a status becomes is not said here: Postgres is read after a change,
and what it then holds decides (an action of effect ``refuse`` that leaves a key admitted, such as
the removal of a member in a release, shows as a version that calls for 200)."""


def check_action(name: str, scope: str) -> None:
    """Raise UsageError for an unknown action, and for one whose object keys of a scope lack."""
    action = ACTIONS.get(name)
    if action is None:
        raise UnknownNameError("action", name, ACTIONS)
    if scope not in action.scopes:
        raise UsageError(
            f"action [{name}] changes a {action.object}, and keys of scope [{scope}] have none; "
            f"use scope {' or '.join(action.scopes)}"
        )


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """One change, as the harness made it. Times are seconds since the start of the window."""

    number: int
    """From 1, in order of time; a further batch goes on from the one before."""
    action: str
    """A name in `ACTIONS`."""
    scope: str
    """Key scope of the key that it works on."""
    way: Way
    key: int
    """Index of the key whose answers it changes."""
    handler: int | None
    """Index of the replica that took the call; None for ``sql``, and where a balancer chose."""
    worker: str
    """The worker that answered, as in `harness.domain.served.WORKER_HEADER`; empty if unknown."""
    sent_s: float
    """When the call or the statement was sent."""
    answered_s: float
    """When its answer was complete; for ``sql`` when COMMIT returned."""
    status: int
    """HTTP status of the answer; 0 for ``sql`` and without an answer."""
    outcome: Outcome
    detail: str = ""
    """The first 300 characters of an answer that was an error, without secrets."""
    dropped: tuple[str, ...] = ()
    """Workers that dropped a copy of such an object while the change was made or within `NEWS_S` of
    its answer."""
    told: tuple[str, ...] = ()
    """Workers that heard of a change of such an object then."""
    idle_s: float | None = None
    """How long after the change the one worker was to be asked that tells of an idle key; None for
    a key in use."""
