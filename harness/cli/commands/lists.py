"""The listing commands: `variants`, `scenarios`, `codecs`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.authcache.codecs import codec_names
from harness.authcache.variants import BASELINE, differences, load_variants
from harness.errors import UnknownNameError
from harness.scenario.loader import scenario_names


def variants(name: str | None, variants_file: Path | None) -> None:
    """List the variants, or print one variant's switches and how they differ from litellm_1_84."""
    known = load_variants(variants_file)
    if name is None:
        width = max(map(len, known))
        for variant in known.values():
            click.echo(f"{variant.name:<{width}}  {variant.title} ({variant.stands_for})")
        return
    if name not in known:
        raise UnknownNameError("variant", name, known)
    variant = known[name]
    click.echo(f"{variant.name}: {variant.title}\nStands for {variant.stands_for}.\n")
    changed = differences(variant, known[BASELINE])
    for switch, value in variant.switches.model_dump().items():
        note = f"   ({BASELINE}: {changed[switch][0]})" if switch in changed else ""
        click.echo(f"  {switch:<18} {value}{note}")
    if name != BASELINE and not changed:
        click.echo(f"\nNo switch differs from {BASELINE}.")


def scenarios() -> None:
    """List the built-in scenarios."""
    names = scenario_names()
    width = max(map(len, names))
    for name, title in names.items():
        click.echo(f"{name:<{width}}  {title}")


def codecs() -> None:
    """List the codecs that a variant can name."""
    names = codec_names()
    width = max(map(len, names))
    for name, summary in names.items():
        click.echo(f"{name:<{width}}  {summary}")
