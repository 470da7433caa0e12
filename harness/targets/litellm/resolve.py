"""Resolves pins: of known releases for the project, of any other for its environment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from harness.domain.progress import Progress
from harness.errors import SetupError
from harness.targets.litellm.pins import (
    PINS_FOLDER,
    overrides,
    read_pins,
    recorded_pins,
    requirements,
)
from harness.targets.litellm.problems import explain_uv
from harness.targets.litellm.releases import Release, refuse_compromised
from harness.targets.litellm.uv import UvError, compile_command, find_uv, run_uv


async def resolve(release: Release, *, universal: bool, present: str | None = None) -> str:
    """Resolve the pins of a release, as text that `read_pins` accepts.

    Args:
        release: Gives the requirements and the recorded relaxations.
        universal: Resolve for every platform and Python that the project supports.
        present: Pins to keep where they still fit.

    Raises:
        UnknownNameError: the index has no such release.
        SetupError: a requirement is not available, no wheel for this platform, no network.
    """
    refuse_compromised(release.version)
    with tempfile.TemporaryDirectory(prefix="authcache-pins-") as name:
        folder = Path(name)
        source, output = folder / "requirements.in", folder / "pins.txt"
        source.write_text(requirements(release), encoding="utf-8")
        relaxed = folder / "overrides.txt" if release.relaxations else None
        if relaxed is not None:
            relaxed.write_text(overrides(release), encoding="utf-8")
        if present is not None:
            output.write_text(present, encoding="utf-8")
        command = compile_command(find_uv(), source, output, relaxed, universal=universal)
        try:
            await run_uv(command, folder)
        except UvError as error:
            raise explain_uv(release, str(error)) from error
        text = output.read_text(encoding="utf-8")
    read_pins(text, release)
    return text


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
        text = await resolve(release, universal=True, present=None if upgrade else before)
        (PINS_FOLDER / f"{release.version}.txt").write_text(text, encoding="utf-8")
        changed = "as before" if text == before else "changed"
        progress.note(f"{release.name}: {len(read_pins(text, release))} packages, {changed}")
