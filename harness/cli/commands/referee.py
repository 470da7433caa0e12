"""Bodies of `referee`, `ask` and `bisect`."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from packaging.version import Version
from rich.console import Console

from harness.analysis.analyse import enough as expectations_decided
from harness.analysis.questions import parse_question
from harness.analysis.referee import Ruling, settled
from harness.analysis.referee import referee as ruling_of
from harness.archive.directory import write_verdict
from harness.archive.manifest import command_line
from harness.cli.commands.options import OwnSettings, chosen_variants, console_for
from harness.cli.commands.running import FinishedRun, run_to_end
from harness.cli.referee import BAD_QUESTION, CANNOT_TELL
from harness.domain.result import Result, VariantResult
from harness.errors import EXIT_INCONCLUSIVE, HarnessError, RefusedReleaseError, UsageError
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RunPlan
from harness.process.git import git
from harness.report.numbers import plural
from harness.report.referee import Match, as_json, print_ruling, referee_files
from harness.report.write import write_texts
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import RatioExpectation, Scenario
from harness.targets.base import Choice
from harness.targets.registry import (
    REFERENCE,
    index_versions,
    installed_versions,
    kind_of_choice,
    parse_release,
)

_YES, _NO = 0, 1
"""Exit codes of `ask`: what ``git bisect run`` takes for good and bad."""
_ANSWERS = {_YES: "yes", _NO: "no", CANNOT_TELL: "cannot tell"}
PLAIN = "plain"
"""The base of a configuration: the same source without it."""
_CONFIGURED = "configured"
_SIDES = ("base", "head")
_CHANGED_SHOWN = 7
"""Digits of a commit's hash."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """The two sides as variants, and as people read them."""

    base: str
    head: str
    base_label: str
    head_label: str


def referee(
    *,
    repo: Path | None,
    base: str | None,
    head: str | None,
    source: str | None,
    against: str | None,
    json_to: str | None,
    **options: Any,
) -> None:
    """Compare base and head, print the verdict, write the proof."""
    if (repo is None) == (source is None):
        raise UsageError("Name a checkout with --repo, or a head with --source, and not both.")
    if source is not None:
        if base or head or not against:
            raise UsageError(
                "--source is the head and takes --against SOURCE for its base; --base and --head "
                "are revisions of --repo."
            )
        if against == PLAIN:
            sides = _with_config(source, options["config"])
        else:
            sides = _Sources(against, source, against, source)
    else:
        assert repo is not None
        if against:
            raise UsageError("--against is the base of --source. With --repo give --base REV.")
        sides = _of_repo(repo, base, head)
    console = console_for(json_to)
    servers = {name: options.pop(name) for name in ("postgres_dsn", "redis_url", "runs_dir")}
    ready = prepare((sides.base, sides.head), **options)
    done = ready.run(console, **servers)
    older, newer = ready.names
    ruling = ruling_of(done.result, older, newer)
    variants = done.result.variants
    match = Match(
        older,
        newer,
        _with_changes(sides.base_label, variants.get(older)),
        _with_changes(sides.head_label, variants.get(newer)),
        shlex.join(command_line()),
    )
    print_ruling(ruling, done.result, match, console)
    files = referee_files(ruling, done.result, match)
    write_texts(done.run_dir, files)
    _verdict(done, ruling, files)
    line = f"Files: {done.run_dir}/ ({', '.join(files)}, report.html, result.json)"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if json_to:
        click.echo(json.dumps(as_json(ruling, match), indent=1))
    sys.exit(done.signal_code or ruling.exit_code)


def _with_config(source: str, config: Path | None) -> _Sources:
    """A source without and with a configuration of the user's own."""
    if config is None:
        raise UsageError(
            f"--against {PLAIN} is --source without a --config of your own, and there is none. "
            "Give --config FILE, or name another base."
        )
    return _Sources(
        PLAIN, source, f"{source} without {config.name}", f"{source} with {config.name}"
    )


def _with_changes(label: str, variant: VariantResult | None) -> str:
    """The label of a side, with the files of a working tree that are in no commit."""
    source = None if variant is None else variant.source
    if source is None or not source.uncommitted:
        return label
    return f"{label} + {plural(source.uncommitted, 'file')} not committed"


def _verdict(done: FinishedRun, ruling: Ruling, files: dict[str, str]) -> None:
    write_verdict(done.run_dir, ruling.word, ruling.exit_code, ruling.reasons, files)


def ask(*, source: str, question: str, json_to: str | None, **options: Any) -> None:
    """Ask one question about one source."""
    console = console_for(json_to)
    try:
        code, result = _answer(source, question, console, **options)
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(BAD_QUESTION)
    if json_to and result is not None:
        click.echo(result.model_dump_json(indent=1))
    sys.exit(code)


def _answer(
    source: str,
    question: str,
    console: Console,
    *,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
    **options: Any,
) -> tuple[int, Result | None]:
    """0 yes, 1 no, 125 cannot tell, or the code of a signal; and the run's result, if there is one.

    Prints one line.

    Raises:
        UsageError: the question or an option is wrong.
    """
    asked = parse_question(question, source)
    names = (source, asked.to) if isinstance(asked, RatioExpectation) else (source,)
    try:
        ready = prepare(names, question=question, **options)
    except RefusedReleaseError as error:
        return _cannot_tell(source, error)
    try:
        done = ready.run(console, postgres_dsn=postgres_dsn, redis_url=redis_url, runs_dir=runs_dir)
    except HarnessError as error:
        if error.exit_code > CANNOT_TELL:
            raise
        return _cannot_tell(source, error)
    code, why = _read_answer(done.result)
    line = f"{source}: {question}: {_ANSWERS[code]} ({why})"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not done.signal_code:
        write_verdict(done.run_dir, _ANSWERS[code], code, [why])
    return done.signal_code or code, done.result


def _cannot_tell(source: str, error: HarnessError) -> tuple[int, None]:
    click.echo(f"{source}: cannot tell: {error}", err=True)
    return CANNOT_TELL, None


def _read_answer(result: Result) -> tuple[int, str]:
    """The answer of a finished run, and what it rests on."""
    if result.verdict in {"invalid", "interrupted"} or not result.expectations:
        return CANNOT_TELL, "; ".join(result.reasons) or "not measured"
    asked = result.expectations[0]
    why = f"{asked.name} is {asked.measured}, asked {asked.limit}"
    if asked.state == "undecided":
        return CANNOT_TELL, f"{why}: {asked.reason}" if asked.reason else why
    return (_YES if asked.passed else _NO), why


def bisect(*, good: str, bad: str, question: str, installed: bool, **options: Any) -> None:
    """Find the release with which the answer changes."""
    console = Console()
    ends = [parse_release(name) for name in (good, bad)]
    parse_question(question, ends[0].name)

    def asked(version: str) -> int:
        code, _ = _answer(f"litellm=={version}", question, console, **options)
        if code > CANNOT_TELL:
            sys.exit(code)
        return code

    listed = installed_versions() if installed else index_versions()
    versions = between(listed, *(one.version for one in ends))
    console.print(f"{len(versions)} releases from {ends[0].version} to {ends[1].version}.")
    found = walk(versions, asked)
    console.print(found.text, markup=False, highlight=False, soft_wrap=True)
    sys.exit(found.exit_code)


@dataclass(frozen=True, slots=True)
class BisectionEnd:
    """What a bisection found."""

    text: str
    exit_code: int


def between(index: Sequence[str], good: str, bad: str) -> list[str]:
    """The versions from the good one to the bad one, both ends included, whichever is newer."""
    low, high = sorted((Version(good), Version(bad)))
    inside = {v for v in index if low <= Version(v) <= high} | {good, bad}
    return sorted(inside, key=Version, reverse=Version(good) > Version(bad))


def walk(versions: Sequence[str], asked: Callable[[str], int]) -> BisectionEnd:
    """Find the first version with another answer than the first of them.

    Args:
        versions: in order from good to bad, two or more.
        asked: answers 0, 1 or 125 for a version.

    Raises:
        UsageError: the answer at an end is not what was said of it.
    """
    if len(versions) < 2:  # noqa: PLR2004 - two ends
        raise UsageError(f"Good and bad are the same release [{versions[0]}]. Name two.")
    for version, wanted in ((versions[0], _YES), (versions[-1], _NO)):
        if (code := asked(version)) != wanted:
            raise UsageError(
                f"The answer of [{version}] is [{_ANSWERS[code]}], and [{_ANSWERS[wanted]}] was "
                "expected of it. Name another end, or ask the opposite."
            )
    low, high = 0, len(versions) - 1
    skipped: set[int] = set()
    while candidates := [i for i in range(low + 1, high) if i not in skipped]:
        middle = (low + high) / 2
        here = min(candidates, key=lambda i: abs(i - middle))
        code = asked(versions[here])
        if code == _YES:
            low = here
        elif code == _NO:
            high = here
        else:
            skipped.add(here)
    left = [versions[i] for i in range(low + 1, high)]
    if left:
        return BisectionEnd(
            f"Between {versions[low]} (yes) and {versions[high]} (no): {', '.join(left)} cannot "
            "be asked.",
            EXIT_INCONCLUSIVE,
        )
    return BisectionEnd(f"{versions[high]} is the first with no; {versions[low]} says yes.", 0)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One or two sources that are ready to run."""

    scenario: Scenario
    choices: Sequence[Choice]
    enough: Callable[[RunPlan, Sequence[Evidence], Path], bool]

    @property
    def names(self) -> list[str]:
        """Of the sources in the run, in their order."""
        return [one.name for one in self.choices]

    def run(
        self, console: Console, *, postgres_dsn: str | None, redis_url: str | None, runs_dir: Path
    ) -> FinishedRun:
        return run_to_end(
            self.scenario,
            self.choices,
            console,
            runs_dir=runs_dir,
            postgres_dsn=postgres_dsn,
            redis_url=redis_url,
            enough=self.enough,
            check=refuse_other_code,
        )


def prepare(
    variants: tuple[str, ...],
    *,
    scenario: str,
    replicas: int | None,
    rounds: int | None,
    variants_file: Path | None,
    relax: tuple[str, ...],
    environment: str | None,
    config: Path | None,
    keep_callbacks: bool,
    question: str | None = None,
) -> _Prepared:
    """Choose one or two sources, without premises, with the question as the only expectation.

    The first may be `PLAIN`: the second without the configuration.

    Raises:
        UsageError: an option or a name is wrong.
    """
    plain = config is not None and variants[0] == PLAIN and len(variants) > 1
    named = tuple(dict.fromkeys(variants[1:] if plain else variants))
    changes = Changes(replicas=replicas, variants=named, rounds=rounds, premises=False)
    given = load_scenario(scenario, changes)
    given = given.model_copy(update={"expect": []})
    own = OwnSettings(environment, config, keep_callbacks)
    choices = chosen_variants(given, variants_file, (), relax, own)
    if plain:
        without = kind_of_choice(choices[0]).configure(
            choices[0], environment=environment, config=None, keep_callbacks=False
        )
        choices = [_renamed(without, PLAIN), _renamed(choices[0], _CONFIGURED)]
    elif len(variants) > len(named):
        choices = [choices[0], _renamed(choices[0], f"{choices[0].name}-again", "again")]
    elif len({one.name for one in choices}) < len(choices):
        choices = [_renamed(one, name) for one, name in zip(choices, _SIDES, strict=True)]
    names = [one.name for one in choices]
    given = given.model_copy(update={"variants": names})
    decided = expectations_decided
    if question is not None:
        given = _asking(given, question, names, shorter=rounds is None)
    elif len(names) > 1:
        decided = partial(settled, base=names[0], head=names[1])
    return _Prepared(given, choices, decided)


def _asking(scenario: Scenario, question: str, names: Sequence[str], *, shorter: bool) -> Scenario:
    """The scenario with a question; shorter, it stops after the first round that answers it."""
    asked = parse_question(question, names[0])
    if isinstance(asked, RatioExpectation):
        asked = asked.model_copy(update={"to": names[1]})
    fewer = {"rounds": 1} if shorter and scenario.rounds_max is not None else {}
    return scenario.model_copy(update={"expect": [asked], **fewer})


def _renamed(choice: Choice, name: str, of_others: str | None = None) -> Choice:
    """A choice under another name; one of another kind than the reference proxy's by its own."""
    kind = kind_of_choice(choice)
    chosen: Choice = kind.renamed(
        choice, name if of_others is None or kind is REFERENCE else of_others
    )
    return chosen


def refuse_other_code(arms: Sequence[Arm]) -> None:
    """Raise UsageError where one side has a native file that the other looks for and lacks."""
    without = [arm.name for arm in arms if arm.target.lacks_native]
    having = [arm.name for arm in arms if not arm.target.lacks_native]
    if without and having:
        raise UsageError(
            f"[{without[0]}] has no native file and [{having[0]}] has one. Without it LiteLLM runs "
            "other code and says nothing, so the two cannot be compared. Give both an environment "
            "that has the file with --environment litellm==X, or build the wheel with it."
        )


def _of_repo(repo: Path, base: str | None, head: str | None) -> _Sources:
    """The two sides of a checkout. Raises UsageError."""
    if _git(repo, "rev-parse", "--show-toplevel") is None:
        raise UsageError(
            f"[{repo}] is no git repository. Give --repo the folder of a checkout of LiteLLM."
        )
    commit = _commit(repo, head or "HEAD")
    before = _base_commit(repo, base, commit)
    newer = f"litellm@{repo}" if head is None else f"litellm@{repo}#{commit}"
    older = f"litellm@{repo}#{before}"
    return _Sources(
        f"base={older}", f"head={newer}", before[:_CHANGED_SHOWN], commit[:_CHANGED_SHOWN]
    )


def _base_commit(repo: Path, base: str | None, head: str) -> str:
    found = _rev(repo, base) if base else _git(repo, "merge-base", head, "origin/HEAD")
    if found is not None:
        return found
    if _git(repo, "rev-parse", "--is-shallow-repository") == "true":
        raise UsageError(
            f"[{repo}] is a shallow clone and lacks the base's history. Fetch it: "
            f"git -C {shlex.quote(str(repo))} fetch --unshallow, or name a base that it has with "
            "--base REV."
        )
    if base is not None:
        raise _no_revision(repo, base)
    raise UsageError(
        f"[{repo}] has no merge base with origin/HEAD. Name the base with --base REV, or set "
        f"it: git -C {shlex.quote(str(repo))} remote set-head origin --auto"
    )


def _commit(repo: Path, rev: str) -> str:
    commit = _rev(repo, rev)
    if commit is None:
        raise _no_revision(repo, rev)
    return commit


def _rev(repo: Path, rev: str) -> str | None:
    return _git(repo, "rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}")


def _no_revision(repo: Path, rev: str) -> UsageError:
    return UsageError(
        f"There is no revision [{rev}] in [{repo}]. Fetch it, or name another: a commit, a tag "
        "or a branch."
    )


def _git(repo: Path, *words: str) -> str | None:
    """What git prints, without the end of the line; None where it fails."""
    said = asyncio.run(git(repo, *words))
    return None if said is None else said.strip()
