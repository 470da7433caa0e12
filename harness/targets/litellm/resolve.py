"""Resolves pins: of known releases for the project, of any other for its environment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.domain.progress import Progress
from harness.errors import SetupError
from harness.targets.litellm.pins import (
    PINS_FOLDER,
    overrides,
    read_pins,
    recorded_pins,
    requirements,
)
from harness.targets.litellm.problems import Lacking, explain_lacking, explain_uv, lacking
from harness.targets.litellm.releases import PROJECT, Relaxation, Release, refuse_compromised
from harness.targets.litellm.uv import UvError, compile_command, find_uv, run_uv


class Resolution(NamedTuple):
    """Pins, and what the user's relaxations came to."""

    text: str
    """As `read_pins` accepts it."""
    relaxed: tuple[Relaxation, ...]


async def resolve(release: Release, *, universal: bool, present: str | None = None) -> Resolution:
    """Resolve the pins of a release.

    Where the index cannot meet a requirement of a package that the user relaxes, it takes the
    nearest version that the index has, or leaves out a package that it lacks entirely.

    Args:
        release: Gives the requirements, the recorded relaxations, and the user's.
        universal: Resolve for every platform and Python that the project supports.
        present: Pins to keep where they still fit.

    Raises:
        UnknownNameError: the index has no such release.
        SetupError: a requirement is not available, no wheel for this platform, no network.
    """
    refuse_compromised(release.version)
    relaxed: dict[str, Relaxation] = {}
    missing: dict[str, Lacking] = {}
    untried: dict[str, list[str]] = {}
    last = ""
    while True:
        taken = (*release.relaxations, *relaxed.values())
        try:
            text = await _compiled(release, taken, universal=universal, present=present)
        except UvError as error:
            one = lacking(str(error))
            if one is not None and one.package != PROJECT and one.package not in untried:
                last, asked = one.package, one.name + one.asked
                untried[last] = [*one.replacements()]
                if last not in release.relax:
                    # All that is missing is reported at once, so the search goes on.
                    missing[last] = one
            elif untried.get(last):
                asked = relaxed[last].asked
            elif missing:
                break
            else:
                raise explain_uv(release, str(error)) from error
            why = "taken with --relax"
            relaxed[last] = Relaxation(asked=asked, use=untried[last].pop(0), why=why)
        else:
            break
    if missing:
        raise explain_lacking(release, [*missing.values()], recording=universal)
    read_pins(text, release)
    return Resolution(text, tuple(relaxed.values()))


async def _compiled(
    release: Release, taken: Sequence[Relaxation], *, universal: bool, present: str | None
) -> str:
    """The pins that uv finds with some relaxations. Raises UvError."""
    with tempfile.TemporaryDirectory(prefix="authcache-pins-") as name:
        folder = Path(name)
        source, output = folder / "requirements.in", folder / "pins.txt"
        source.write_text(requirements(release), encoding="utf-8")
        relaxed = folder / "overrides.txt" if taken else None
        if relaxed is not None:
            relaxed.write_text(overrides(taken), encoding="utf-8")
        if present is not None:
            output.write_text(present, encoding="utf-8")
        await run_uv(
            compile_command(find_uv(), source, output, relaxed, universal=universal), folder
        )
        return output.read_text(encoding="utf-8")


async def lock(releases: Iterable[Release], progress: Progress, *, upgrade: bool) -> None:
    """Make the project's pins of known releases again, one release after another.

    Args:
        releases: Known ones.
        progress: Gets a message for each.
        upgrade: Move to the newest versions; otherwise a version that still fits stays.

    Raises:
        UnknownNameError: the index has no such release.
        SetupError: as `resolve`, or a release that has no row in the table.
    """
    for release in releases:
        if not release.known:
            raise SetupError(
                f"[{release.name}] has no row in the table of known releases, so it gets no pins "
                "in the project. Add a row first; without one it can still be installed."
            )
        progress.phase(f"pinning {release.name}")
        before = recorded_pins(release)
        text, _ = await resolve(release, universal=True, present=None if upgrade else before)
        (PINS_FOLDER / f"{release.version}.txt").write_text(text, encoding="utf-8")
        changed = "as before" if text == before else "changed"
        progress.note(f"{release.name}: {len(read_pins(text, release))} packages, {changed}")
