"""The command `compat`: who can read whose entries in Redis."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from harness.analysis.compat import ReferenceParty, matrix, rich_population
from harness.authcache.variants import load_variants, pick
from harness.cli.commands.options import apply_overrides
from harness.errors import UsageError
from harness.report.compat import compat_json, compat_markdown, print_compat

DEFAULT = ("litellm_1_84", "litellm_1_91", "litellm_1_93", "litellm_1_94", "recommended")
"""The variants that stand for releases, oldest first, and the proposal."""


def compat(
    *,
    variants: tuple[str, ...] | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """Show what each variant makes of the entries that the others leave in Redis."""
    if markdown and as_json:
        raise UsageError("--markdown and --json were both given. Choose one.")
    names = variants or DEFAULT
    known = load_variants(variants_file)
    apply_overrides(known, names, overrides)
    found = matrix([ReferenceParty(one) for one in pick(known, names)], rich_population())
    if as_json:
        click.echo(compat_json(found))
    elif markdown:
        click.echo(compat_markdown(found))
    else:
        print_compat(found, Console())
