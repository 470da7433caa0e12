"""Studies, runs that answer a question: their variants, rounds and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.version import Version

from harness.analysis.twins import Pair
from harness.errors import UnknownNameError, UsageError
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
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
