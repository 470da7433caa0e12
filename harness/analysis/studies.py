"""Studies, runs that answer a question: their variants, rounds and pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.version import Version

from harness.analysis.twins import Pair
from harness.domain.changes import ACTIONS
from harness.domain.faults import fault_name
from harness.domain.series import ALL
from harness.errors import UnknownNameError, UsageError
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import PROMISE_TTLS, FaultExpectation, Scenario
from harness.scenario.sizing import probe_every_s
from harness.targets.registry import (
    is_release_name,
    known_releases,
    parse_release,
    parse_version,
)


@dataclass(frozen=True, slots=True)
class Study:
    """One run of a built-in scenario. Nothing is planted, because no release has it."""

    variants: tuple[str, ...]
    rounds: int | None = None
    """None keeps the scenario's rounds."""
    replicas: int = 2
    """A worker of LiteLLM takes about 330 MB, and the studies start up to twenty on two cores; two
    replicas are the least that share a Redis."""
    scenario: str = "issue-27874"
    management_ttl: bool = False
    """Whether releases get the TTL of the scenario for keys, users and teams by their variable too,
    so that they can be compared with reference variants, which know no other TTL."""

    def load(self, replicas: int | None = None, rounds: int | None = None) -> Scenario:
        """The scenario as the study runs it, with the command line's changes.

        Raises:
            UsageError: the scenario does not allow a change.
        """
        changes = Changes(
            replicas=replicas or self.replicas,
            rounds=rounds or self.rounds,
            variants=self.variants,
            premises=False,
        )
        scenario = load_scenario(self.scenario, changes)
        table = scenario.with_releases.model_copy(update={"management_ttl": self.management_ttl})
        return scenario.model_copy(update={"with_releases": table})


ActionScope = tuple[str, str]
"""An action, and the key scope of the key that it is done to."""

_ENTRIES = {"team": 2, "user": 2, "shared_id": 4, "member": 4}
"""Objects that a worker keeps for one key, by its scope; some releases keep a few more."""
MOST_ENTRIES = 150
"""In a worker's memory, which holds 200 in releases, some of them for something else."""

IDLE_TTLS = (0.5, 1.0, 2.25)
"""When a worker is asked for an idle object, in TTLs after its change. The last is beyond the
promise of two TTLs and a read, which an answer at two could not judge."""

TWIN_ROUNDS = 5
"""With three rounds, the ranges of two equal variants do not overlap in one case of ten, with five
in one of 126; a run compares more than a hundred figures."""


def twins(pairs: Sequence[Pair]) -> Study:
    """Reference variants and their releases, side by side in every round."""
    return Study(tuple(name for pair in pairs for name in pair), TWIN_ROUNDS, management_ttl=True)


def history(versions: Sequence[str] | None = None) -> Study:
    """Releases, oldest first: those of the table that are for it, or those named (``1.84.0rc1``).

    Raises:
        UsageError: an empty list, text that is not a version, or a release that is refused.
    """
    if versions is None:
        return Study(tuple(one.name for one in known_releases().values() if one.history))
    chosen = {parse_version(version) for version in versions}
    if not chosen:
        raise UsageError("No release is named. Leave RELEASES out to use all known releases.")
    ordered = sorted(chosen, key=lambda release: Version(release.version))
    return Study(tuple(release.name for release in ordered))


def clock(
    scenario: Scenario,
    *,
    only: Sequence[str] | None = None,
    scopes: Sequence[str] | None = None,
    changes: int = 1,
    watch_ttls: float = 3.0,
    idle: bool = False,
) -> Scenario:
    """The scenario ``clock`` with the changes that are asked for, in windows of their own.

    A window changes no more keys than can be probed as often as the scenario says at its rate, and
    no more than its ``batch_max``; where even one key is too many, probes are farther apart.

    Args:
        scenario: with the command line's changes applied.
        only: actions, as ``team-block`` or with a scope as ``key-block:member``; None for all.
        scopes: each action in each of these scopes that has its object; None for the scenario's.
        changes: of each action and scope.
        watch_ttls: how long the last change of a window is watched, in TTLs; at least the promise
            of two and a part of one.
        idle: make each change also on keys that are not in use, in windows after the others: one
            key for each of `IDLE_TTLS` and for the handler and another replica.

    Raises:
        UnknownNameError: an action or a scope that there is not.
        UsageError: nothing is left, or an action has no object in the scope that is named.
    """
    pairs = _wanted([(str(c.action), str(c.scope)) for c in scenario.change], only, scopes)
    ttl_s, window = scenario.ttl_s * scenario.time_scale, scenario.changes
    workers = scenario.replicas * scenario.workers
    most = int(scenario.load.rate_per_s * ttl_s / (workers * window.probes_per_ttl))
    most = min(window.batch_max, max(1, most))
    each = pairs * changes
    batches = math.ceil(len(each) / most)
    # Dealt out, so that each window has actions on different objects.
    planned = [
        {"action": action, "scope": scope, "batch": number % batches + 1}
        for number, (action, scope) in enumerate(each)
    ]
    if idle:
        asks = ("handler", "others") if workers > 1 else ("handler",)
        clones = [
            {"action": action, "scope": scope, "idle_ttls": ttls, "idle_asks": which}
            for action, scope in each
            for which in asks
            for ttls in IDLE_TTLS
        ]
        planned += [
            clone | {"batch": batches + 1 + number // window.batch_max}
            for number, clone in enumerate(clones)
        ]
    watched = window.model_copy(update={"tail_ttls": watch_ttls - PROMISE_TTLS})
    return Scenario.model_validate(
        scenario.model_dump(by_alias=True) | {"change": planned, "changes": watched.model_dump()}
    )


def clock_notes(scenario: Scenario, variants: int) -> list[str]:
    """What a run of `clock` will do, in sentences: its windows, their size and its length."""
    window, batches = scenario.changes, scenario.batches()
    ttl_s, workers = scenario.ttl_s * scenario.time_scale, scenario.replicas * scenario.workers
    hot = [change for change in scenario.change if change.idle_ttls is None]
    keys = max(sum(change.batch == batch for change in hot) for batch in batches)
    every_s = probe_every_s(window, ttl_s, keys * workers, scenario.load.rate_per_s)
    window_s = window.window_ttls * ttl_s
    found = (
        f"{len(scenario.change)} changes of {variants} variants: windows of {window_s:g} s, "
        f"{len(batches)} for each variant, {window_s * len(batches) * variants / 60:.1f} min in "
        "all without starts."
    )
    asked = (
        f"A window changes at most {keys} keys in use; each is asked for every {every_s:.2g} s on "
        f"each of {workers} workers, {keys * workers / every_s:.0f} requests/s together."
    )
    idle = len(scenario.change) - len(hot)
    left = (
        f"{idle} of the changes are of keys that are idle from shortly before the change until one "
        f"worker is asked, {' or '.join(f'{ttls:g}' for ttls in IDLE_TTLS)} TTLs after it."
    )
    entries = sum(_ENTRIES[change.scope] for change in scenario.change)
    crowded = (
        f"The keys of all windows come to {entries} entries in each worker. Where code keeps them "
        f"for minutes, more than {MOST_ENTRIES} may push one another out, and a worker then looks "
        "fresher than it is: name fewer."
    )
    return [found, asked, *([left] if idle else []), *([crowded] if entries > MOST_ENTRIES else [])]


def faults(scenario: Scenario, only: Sequence[str] | None = None) -> Scenario:
    """A scenario with some of its faults, and with what is expected of these.

    Args:
        scenario: with the command line's changes applied.
        only: names of faults, as the sheet has them or as ``redis-poison`` for all of that kind;
            None for all.

    Raises:
        UnknownNameError: the scenario has no such fault.
        UsageError: it has none, or none is named.
    """
    if not scenario.fault:
        raise UsageError(
            f"The scenario [{scenario.name}] has no [[fault]]. Use one that has, as faults."
        )
    if only is None:
        return scenario
    known = [(one, fault_name(one.what, one.entry)) for one in scenario.fault]
    for name in only:
        if all(name not in (one.what, known_as) for one, known_as in known):
            raise UnknownNameError("fault", name, [known_as for _, known_as in known])
    kept = [(one, name) for one, name in known if not {one.what, name}.isdisjoint(only)]
    if not kept:
        raise UsageError("No fault is named. Leave ONLY out to plant all of the scenario.")
    names = {name for _, name in kept}
    asked = [
        _of_faults(e, names) if isinstance(e, FaultExpectation) else e for e in scenario.expect
    ]
    return scenario.model_copy(
        update={
            "fault": [one for one, _ in kept],
            "expect": [e for e in asked if e is not None],
        }
    )


def _of_faults(e: FaultExpectation, names: set[str]) -> FaultExpectation | None:
    """An expectation about some faults; None where it is about none of them."""
    but = [name for name in e.but if name in names]
    if e.fault not in (ALL, *names) or len(but) == len(names):
        return None
    return e.model_copy(update={"but": but})


def _wanted(
    pairs: Sequence[ActionScope], only: Sequence[str] | None, scopes: Sequence[str] | None
) -> list[ActionScope]:
    """The actions and scopes that a clock is asked for, in the order of `ACTIONS`."""
    known = sorted({scope for action in ACTIONS.values() for scope in action.scopes})
    for scope in scopes or ():
        if scope not in known:
            raise UnknownNameError("scope", scope, known)
    if scopes is not None:
        pairs = [
            (name, s) for name, action in ACTIONS.items() for s in action.scopes if s in scopes
        ]
    found = pairs if only is None else [pair for text in only for pair in _named(text, pairs)]
    if not found:
        raise UsageError(
            "No action is left to time. Name actions in ONLY, with scopes that have their objects, "
            "or leave ONLY and SCOPES out."
        )
    order = list(ACTIONS)
    return sorted(dict.fromkeys(found), key=lambda pair: order.index(pair[0]))


def _named(text: str, pairs: Sequence[ActionScope]) -> list[ActionScope]:
    name, colon, scope = text.partition(":")
    if name not in ACTIONS:
        raise UnknownNameError("action", name, ACTIONS)
    if not colon:
        return [pair for pair in pairs if pair[0] == name]
    if scope not in ACTIONS[name].scopes:
        raise UnknownNameError(f"scope of the action {name}", scope, ACTIONS[name].scopes)
    return [(name, scope)]


def known_pairs() -> tuple[Pair, ...]:
    """Each reference variant with the first release that names it as its twin, oldest first."""
    first: dict[str, Pair] = {}
    for release in known_releases().values():
        if release.twin is not None:
            first.setdefault(release.twin, Pair(release.twin, release.name))
    return tuple(first.values())


def chosen_pairs(names: Sequence[str] | None = None) -> tuple[Pair, ...]:
    """All pairs, or those of the named variants or releases, in the order of all.

    Raises:
        UnknownNameError: a name that is in no pair.
        UsageError: an empty list, or a release that is refused.
    """
    pairs = known_pairs()
    if names is None:
        return pairs
    if not names:
        raise UsageError("No pair is named. Leave ONLY out to use all pairs.")
    wanted = {parse_release(name).name if is_release_name(name) else name for name in names}
    known = {name for pair in pairs for name in pair}
    for name in sorted(wanted - known):
        raise UnknownNameError("twin", name, known)
    return tuple(pair for pair in pairs if {*pair} & wanted)
