"""What several commands make of their options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.authcache.variants import load_variants, override, pick
from harness.errors import UnknownNameError, UsageError
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from harness.targets.base import Choice
from harness.targets.registry import REFERENCE, kind_of


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options that `loadtest`, `fleet`, `ui` and `up` share: which fleets, on whose servers.

    `up` has no switches to override and no servers but its own.
    """

    scenario: str
    variants: tuple[str, ...] | None
    replicas: int | None
    workers: int | None
    premise: str | None
    variants_file: Path | None
    runs_dir: Path
    overrides: tuple[str, ...] = ()
    postgres_dsn: str | None = None
    redis_url: str | None = None

    def load(
        self, time_scale: float | None = None, rounds: int | None = None, seed: int | None = None
    ) -> tuple[Scenario, list[Choice]]:
        """The scenario, with what the options change of it, and its variants.

        Args:
            time_scale: a factor on all times instead of the scenario's.
            rounds: measured windows of each variant instead of the scenario's.
            seed: instead of the scenario's.

        Raises:
            UsageError: something that is no scenario, no variant or no change of one.
            UnknownNameError: a name that is not known.
        """
        premises = switched(self.premise)
        changes = Changes(
            self.replicas, self.workers, self.variants, time_scale, rounds, seed, premises
        )
        scenario = load_scenario(self.scenario, changes)
        return scenario, chosen_variants(scenario, self.variants_file, self.overrides)


def plainly(console: Console) -> Callable[[str], None]:
    """Prints a line as it is: addresses and commands are for copying, so nothing is wrapped."""
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def switched(premise: str | None) -> bool | None:
    """Whether premises are planted; None leaves the scenario's word."""
    return None if premise is None else premise == "on"


def chosen_variants(
    scenario: Scenario, variants_file: Path | None, overrides: tuple[str, ...]
) -> list[Choice]:
    """The variants of a run, overrides applied. Raises UnknownNameError, UsageError."""
    known, names = load_variants(variants_file), scenario.variants
    for expectation in scenario.expect:
        # An expectation of an unknown variant could never fail.
        name = expectation.variant
        if name not in known and not kind_of(name).known(name):
            raise UnknownNameError("variant in [[expect]]", name, known)
    for name, changes in _parse_overrides(overrides).items():
        if name not in names:
            raise UnknownNameError("variant to override in this run", name, names)
        if name in known:
            known[name] = override(known[name], changes)
    others: dict[str, Choice] = {
        name: kind.choose(name) for name in names if (kind := kind_of(name)) is not REFERENCE
    }
    chosen = {variant.name: variant for variant in pick(known, names, besides=others)}
    return [others.get(name) or chosen[name] for name in names]


def _parse_overrides(overrides: tuple[str, ...]) -> dict[str, dict[str, str]]:
    parsed: dict[str, dict[str, str]] = {}
    for text in (part for item in overrides for part in item.split(",") if part.strip()):
        variant, colon, change = text.strip().partition(":")
        switch, equals, value = change.partition("=")
        if not (colon and equals and variant and switch and value):
            raise UsageError(
                f"The override [{text}] is not VARIANT:SWITCH=VALUE, "
                "e.g. recommended:codec=keep_none."
            )
        parsed.setdefault(variant, {})[switch] = value
    return parsed
