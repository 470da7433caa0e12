"""The head of a study's report: its run, and whether the figures can be used."""

from __future__ import annotations

from rich.console import Console

from harness.domain.result import Result
from harness.report import facts
from harness.report.grid import say
from harness.report.markdown import bullets, escape


def say_head(title: str, result: Result, console: Console) -> None:
    """Print title, verdict and settings of the run."""
    say(console, title, "bold")
    say(console, _run(result), "dim")
    for line in cautions(result):
        say(console, f"- {line}", "bold red", indent=2)


def head_markdown(title: str, result: Result) -> str:
    """Title, verdict and settings of the run."""
    parts = [f"## {escape(title)}", escape(_run(result)), bullets(cautions(result))]
    return "\n\n".join(part for part in parts if part)


def cautions(result: Result) -> list[str]:
    """Why the figures may mislead; empty for a complete run that passed."""
    reasons = result.reasons if result.exit_code else []
    said = [facts.caution(result), *reasons, facts.what_is_missing(result)]
    return [line for line in said if line]


def _run(result: Result) -> str:
    return (
        f"Run {result.run_id}: {facts.verdict_word(result).lower()} "
        f"(exit code {result.exit_code}); scenario {result.scenario}, {facts.set_up(result)}."
    )
