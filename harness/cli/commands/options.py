"""Turns the options that several commands share into scenarios and variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.authcache.variants import Variant, load_variants, override, pick
from harness.errors import UnknownNameError, UsageError
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from harness.targets.base import Choice
from harness.targets.registry import REFERENCE, kind_of, kind_of_choice


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options that `loadtest`, `fleet`, `ui` and `up` share: fleets and their servers.

    `up` has no overrides, installs nothing, and always uses its own servers.
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
    relax: tuple[str, ...] = ()
    environment: str | None = None
    config: Path | None = None
    keep_callbacks: bool = False

    def load(
        self, time_scale: float | None = None, rounds: int | None = None, seed: int | None = None
    ) -> tuple[Scenario, list[Choice]]:
        """The scenario, with the options applied, and its variants.

        Args:
            time_scale: replaces the scenario's factor for all times.
            rounds: replaces the scenario's number of measured windows of each variant.
            seed: replaces the scenario's seed.

        Raises:
            UsageError: the scenario, a variant or an override is not valid.
            UnknownNameError: a name is not known.
        """
        premises = switched(self.premise)
        changes = Changes(
            self.replicas, self.workers, self.variants, time_scale, rounds, seed, premises
        )
        scenario = load_scenario(self.scenario, changes)
        own = OwnSettings(self.environment, self.config, self.keep_callbacks)
        chosen = chosen_variants(scenario, self.variants_file, self.overrides, self.relax, own)
        names = [choice.name for choice in chosen]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(
                f"Two variants have the name [{twice[0]}]. Name each variant once, and give each "
                "source a short name, as in --variants base=litellm@a,head=litellm@b."
            )
        return scenario.model_copy(update={"variants": names}), chosen


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """The options about LiteLLM: an environment, and a configuration of the user's own."""

    environment: str | None = None
    config: Path | None = None
    keep_callbacks: bool = False

    def __call__(self, choices: dict[str, Choice]) -> dict[str, Choice]:
        """Choices of other kinds than the reference proxy, with these settings.

        Raises:
            UsageError: an option is about nothing that takes part, or not valid.
        """
        if self.keep_callbacks and self.config is None:
            raise UsageError("--keep-callbacks is about a --config. Name one, or leave it out.")
        given = {"--environment": self.environment, "--config": self.config}
        for option, value in given.items():
            if value is not None and not choices:
                raise UsageError(
                    f"{option} [{value}] is about LiteLLM, and none takes part. Leave it out, or "
                    "name one as litellm==X or litellm@FOLDER."
                )
        placed = {
            name: kind_of_choice(choice).configure(
                choice, environment=self.environment, config=None, keep_callbacks=False
            )
            for name, choice in choices.items()
        }
        if self.environment is not None and placed == choices:
            raise UsageError(
                f"--environment [{self.environment}] is about trees, commits and wheels: a release "
                "runs in its own. Leave it out, or name one as litellm@FOLDER."
            )
        if self.config is None:
            return placed
        return {
            name: kind_of_choice(choice).configure(
                choice,
                environment=self.environment,
                config=self.config,
                keep_callbacks=self.keep_callbacks,
            )
            for name, choice in choices.items()
        }


def plainly(console: Console) -> Callable[[str], None]:
    """A function that prints a line unwrapped, so that addresses and commands can be copied."""
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def console_for(json_to: str | None) -> Console:
    """Where a command talks: on standard error if its result goes to standard output."""
    return Console(stderr=json_to is not None)


def switched(premise: str | None) -> bool | None:
    """Whether premises are planted; None keeps the scenario's setting."""
    return None if premise is None else premise == "on"


def chosen_variants(
    scenario: Scenario,
    variants_file: Path | None,
    overrides: tuple[str, ...],
    relax: tuple[str, ...] = (),
    configured: Callable[[dict[str, Choice]], dict[str, Choice]] = dict,
) -> list[Choice]:
    """The variants of a run, with overrides applied, and packages of releases relaxed.

    Raises:
        UnknownNameError: a name is not known.
        UsageError: an override or a package's name is not valid, or there is no release to relax.
    """
    known, names = load_variants(variants_file), scenario.variants
    parts = [one for name in names for one in kind_of(name).members(name)]
    apply_overrides(known, [*names, *parts], overrides)
    chosen_others: dict[str, Choice] = {
        name: kind.choose_from(name, known)
        for name in names
        if (kind := kind_of(name)) is not REFERENCE
    }
    short = {choice.name for choice in chosen_others.values()}
    if taken := sorted(short & known.keys()):
        raise UsageError(
            f"[{taken[0]}] is the name of a variant of the reference proxy. Give the source "
            "another short name."
        )
    for expectation in scenario.expect:
        # An expectation for an unknown variant could never fail.
        name = expectation.variant
        if name not in {*known, *short} and not kind_of(name).known(name):
            raise UnknownNameError("variant in [[expect]]", name, known)
    others = configured(chosen_others)
    if relax:
        others = _relaxed(others, relax)
    chosen = {variant.name: variant for variant in pick(known, names, besides=others)}
    return [others.get(name) or chosen[name] for name in names]


def _relaxed(others: dict[str, Choice], relax: tuple[str, ...]) -> dict[str, Choice]:
    """Those with packages relaxed. Raises UsageError where there are none."""
    if not others:
        raise UsageError(
            f"--relax [{', '.join(relax)}] is about packages that a release requires, and no "
            "release takes part. Leave it out, or name one as litellm==X."
        )
    return {name: kind_of_choice(one).relax(one, relax) for name, one in others.items()}


def apply_overrides(
    known: dict[str, Variant], names: Sequence[str], overrides: tuple[str, ...]
) -> None:
    """Change switches of the known variants. Raises UsageError, or UnknownNameError for a name."""
    for name, changes in _parse_overrides(overrides).items():
        if name not in names:
            raise UnknownNameError("variant to override in this run", name, names)
        if name in known:
            known[name] = override(known[name], changes)


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
