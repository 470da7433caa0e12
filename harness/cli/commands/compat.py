"""The command `compat`: who can read whose entries in Redis."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from harness.analysis.compat import CompatCell, ReferenceParty, matrix, rich_population
from harness.analysis.recorded import (
    Question,
    RecordedParty,
    answered,
    as_text,
    load_corpus,
    questions,
    recorded,
    recorded_population,
)
from harness.authcache.variants import load_variants, pick
from harness.cli.commands.options import RunOptions, apply_overrides, plainly
from harness.cli.commands.running import arms_unless_stopped
from harness.domain.progress import Progress
from harness.errors import EXIT_INCONCLUSIVE, EXIT_PASS, UsageError
from harness.installation import checkout
from harness.live.keep import FleetRequest
from harness.live.record import record
from harness.plan.plan import Arm
from harness.process import groups
from harness.process.stop import Stop, StoppedError, with_signals
from harness.report.compat import compat_json, compat_markdown, print_compat
from harness.report.progress import progress_for
from harness.stack.base import Servers
from harness.targets.mixed import PREFIX
from harness.targets.registry import REFERENCE, kind_of

DEFAULT = ("litellm_1_84", "litellm_1_91", "litellm_1_93", "litellm_1_94", "recommended")
"""The variants that stand for releases, oldest first, and the proposal."""
_GRACE_S = 1.0


def compat(
    *,
    variants: tuple[str, ...] | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    releases: bool,
    to_record: tuple[str, ...],
    markdown: bool,
    as_json: bool,
    runs_dir: Path,
) -> None:
    """Show what each variant makes of the entries that the others leave in Redis."""
    if markdown and as_json:
        raise UsageError("--markdown and --json were both given. Choose one.")
    if sum(map(bool, (variants, releases, to_record))) > 1:
        raise UsageError("Give one of --variants, --releases and --record.")
    if to_record:
        _record(to_record, runs_dir)
        return
    names = tuple(recorded()) if releases else variants or DEFAULT
    if fleets := [name for name in names if name.startswith(PREFIX)]:
        raise UsageError(
            f"[{fleets[0]}] is a fleet of two variants, and each writes and reads by itself. Name "
            "the two, or run it with harness loadtest."
        )
    unread: list[str] = []
    if _are_releases(names, overrides):
        found = _of_releases(names, unread)
    else:
        known = load_variants(variants_file)
        apply_overrides(known, names, overrides)
        found = matrix([ReferenceParty(one) for one in pick(known, names)], rich_population())
    if as_json or markdown:
        click.echo(compat_json(found) if as_json else compat_markdown(found))
    elif found:
        print_compat(found, Console())
    for problem in unread:
        click.echo(problem, err=True)
    sys.exit(EXIT_INCONCLUSIVE if unread else EXIT_PASS)


def _are_releases(names: Sequence[str], overrides: Sequence[str]) -> bool:
    """Whether all names are releases rather than reference variants. Raises UsageError for both."""
    others = [name for name in names if kind_of(name) is not REFERENCE]
    if others and (len(others) < len(names) or overrides):
        raise UsageError(
            f"[{', '.join(others)}] and the reference variants frame their entries in different "
            "ways, and a release has no switches. Name releases alone, or reference variants alone."
        )
    return bool(others)


def _record(names: Sequence[str], runs_dir: Path) -> None:
    if own := [name for name in names if kind_of(name) is REFERENCE]:
        raise UsageError(
            f"[{own[0]}] is no release: its payloads are made each time. Name one, as litellm==X."
        )
    if checkout() is None:
        raise UsageError("The package is not in a checkout, where --record writes. Leave it out.")
    options = RunOptions("smoke", tuple(names), 1, 1, "off", None, runs_dir)
    scenario, choices = options.load()
    say = plainly(Console())

    async def go(stop: Stop) -> None:
        progress = progress_for(Console())
        try:
            arms = await arms_unless_stopped(choices, progress, stop)
        finally:
            progress.close()
        for arm in arms:  # One after the other: each starts a gateway.
            request = FleetRequest(scenario, [arm], runs_dir, Servers(), say, stop)
            await stop.cancels(record(request))
            if stop.exit_code:
                raise StoppedError(stop.exit_code)

    with_signals(go)


def _of_releases(names: Sequence[str], unread: list[str]) -> list[CompatCell]:
    """The matrix of releases by their recorded payloads; appends what could not be read."""
    corpora = [load_corpus(name) for name in names]
    population = recorded_population(corpora)
    parties = [RecordedParty(one) for one in corpora]
    read: list[RecordedParty] = []

    async def go(stop: Stop) -> None:
        progress = progress_for(Console(stderr=True))
        try:
            choices = [kind_of(name).choose(name) for name in names]
            arms = await arms_unless_stopped(choices, progress, stop)
            for arm, party in zip(arms, parties, strict=True):
                await stop.cancels(ask(arm, party, progress))
                if stop.exit_code:
                    raise StoppedError(stop.exit_code)
        finally:
            progress.close()

    async def ask(arm: Arm, party: RecordedParty, progress: Progress) -> None:
        progress.note(f"{arm.name} reads what the others wrote")
        asked = questions(party, parties, population)
        problem = await _answer(arm, party, asked)
        if problem:
            unread.append(f"{arm.name} is left out: {problem}")
        else:
            read.append(party)

    with_signals(go)
    return matrix(read, population)


async def _answer(arm: Arm, party: RecordedParty, asked: Sequence[Question]) -> str:
    """Let a release read; returns why it could not, empty where it could."""
    reader = arm.target.payload_reader()
    if reader is None:
        return "it keeps no auth object in Redis, or is no release."
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = await groups.run(
        *reader.argv, stdin=as_text(asked).encode(), grace_s=_GRACE_S, env=env | dict(reader.env)
    )
    if done.code != 0:
        return f"its reader failed: {done.last()}"
    try:
        party.answers |= answered(asked, done.out)
    except ValueError as error:
        return f"its reader wrote no answers: {error}"
    return ""
