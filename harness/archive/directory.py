"""A run's directory ``runs/<id>/``: the names of its parts, and how it is written and read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.domain.result import SCHEMA_VERSION, Result
from harness.errors import SetupError, UnknownNameError, UsageError

RESULT = "result.json"
VERDICT = "verdict.json"
MANIFEST = "manifest.json"
SUMMARY = "summary.md"
REPORT = "report.html"
KEYS = "keys.json"
"""The keys of the population with their secrets; exists only while fleets are up."""
LOGS = "logs"
SAMPLES = "samples"
SNAPSHOTS = "snapshots"
LATEST = "latest"
"""A link to the newest run, in the folder of all runs."""


def make_run_dir(runs_dir: Path, scenario: str, started: datetime) -> Path:
    """Create a directory ``runs/<UTC time>-<scenario>``; never reuses an existing one.

    Raises:
        SetupError: it cannot be created.
    """
    base = f"{started:%Y%m%d-%H%M%S}-{scenario}"
    run_dir = runs_dir
    try:
        # First, because a file or a broken link in its place would be taken for a run that exists.
        runs_dir.mkdir(parents=True, exist_ok=True)
        for attempt in range(100):
            run_dir = runs_dir / (base if attempt == 0 else f"{base}-{attempt + 1}")
            with contextlib.suppress(FileExistsError):
                run_dir.mkdir()
                for name in (LOGS, SAMPLES, SNAPSHOTS):
                    (run_dir / name).mkdir()
                return run_dir
    except OSError as error:
        taken = isinstance(error, FileExistsError)
        why = "a file or a broken link is in its place" if taken else error.strerror
        raise SetupError(
            f"[{run_dir}] cannot be created: {why}. Name a folder that can be written with "
            "--runs-dir."
        ) from error
    raise FileExistsError(base)


@contextlib.contextmanager
def kept_if_used(run_dir: Path) -> Iterator[None]:
    """Remove a run directory if the block fails before it has written a file there."""
    try:
        yield
    except BaseException:
        if not any(path.is_file() for path in run_dir.rglob("*")):
            shutil.rmtree(run_dir)
        raise


def write_result(run_dir: Path, result: Result) -> None:
    """Write ``result.json``."""
    _write_json(run_dir / RESULT, result.model_dump(mode="json"))


def write_verdict(
    run_dir: Path, word: str, exit_code: int, reasons: Iterable[str], files: Iterable[str] = ()
) -> None:
    """Write ``verdict.json``: one line for programs.

    Args:
        run_dir: of the run.
        word: the verdict.
        exit_code: of the command.
        reasons: the most important first.
        files: names of files in the folder, besides those of every run.
    """
    body = {
        "verdict": word,
        "exit_code": exit_code,
        "reasons": list(reasons),
        "files": [RESULT, SUMMARY, REPORT, *files],
    }
    (run_dir / VERDICT).write_text(json.dumps(body) + "\n", encoding="utf-8")


def write_manifest(run_dir: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json``."""
    _write_json(run_dir / MANIFEST, manifest)


def point_latest(runs_dir: Path, run_dir: Path, note: Callable[[str], None]) -> None:
    """Point ``runs/latest`` at a run, atomically.

    Args:
        runs_dir: the folder of all runs.
        run_dir: of the run.
        note: gets one line where that is not possible, which is no reason to lose the run.
    """
    link = runs_dir / f".{LATEST}-{os.getpid()}"
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(run_dir.name)
        link.replace(runs_dir / LATEST)
    except OSError as error:
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
        note(
            f"[{runs_dir / LATEST}] cannot be made a link to [{run_dir}]: {error.strerror}. Remove "
            "what is there, or name another folder with --runs-dir."
        )


def load_result(run_dir: Path) -> Result:
    """The result in a run's folder. Raises UsageError if it is missing or cannot be read."""
    path = run_dir / RESULT
    data = _parsed(path, _text(run_dir, path))
    if isinstance(data, dict) and data.get("schema_version") == 1:
        data = _from_version_1(data)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"[{path}] has schema_version [{version}], this harness reads {SCHEMA_VERSION}. "
            "Read it with the release that wrote it, or run the scenario again."
        )
    try:
        return Result.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        count = error.error_count()
        raise UsageError(
            f"[{path}] does not fit schema version {SCHEMA_VERSION} in "
            f"{count:,} {'place' if count == 1 else 'places'}, first at [{place}]: "
            f"{first['msg']}. It was changed or cut short; run the scenario again."
        ) from error


def _from_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """A result of version 1 as version 2 has it; what version 1 did not record is left out.

    Anything of another shape is left as it is: validation says where.
    """
    later = data | {"schema_version": SCHEMA_VERSION}
    expectations = data.get("expectations")
    if isinstance(expectations, list) and all(isinstance(e, dict) for e in expectations):
        later["expectations"] = [_expectation_of_version_1(e) for e in expectations]
        if data.get("verdict") == "pass" and not expectations:
            later["verdict"] = "observed"
    return later


def _expectation_of_version_1(e: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in e.items() if name != "passed"}
    if "passed" in e:
        blind = e.get("not_instrumented")
        kept["state"] = "holds" if e["passed"] else "undecided" if blind else "fails"
    return kept


def load_manifest(run_dir: Path) -> dict[str, Any] | None:
    """The manifest in a run's folder; None if missing or broken, since reports need none."""
    try:
        data = json.loads((run_dir / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def resolve_run(name_or_path: str, runs_dir: Path) -> Path:
    """The folder of a run, by its id, by a path to it or to its result, or ``latest``.

    Raises UnknownNameError, which suggests the nearest run.
    """
    if name_or_path:
        named = runs_dir / name_or_path
        for path in (named, Path(name_or_path)):
            if path.is_dir():
                return path.resolve()
            if path.is_file() and path.name == RESULT:
                return path.parent.resolve()
    known = [*run_ids(runs_dir), *([LATEST] if (runs_dir / LATEST).is_dir() else [])]
    raise UnknownNameError("run", name_or_path, known, f"Runs are looked for in [{runs_dir}].")


def run_ids(runs_dir: Path) -> list[str]:
    """Ids of all runs in a folder that have a result, oldest first; empty if it is missing."""
    if not runs_dir.is_dir():
        return []
    return sorted(p.parent.name for p in runs_dir.glob(f"*/{RESULT}") if p.parent.name != LATEST)


def _text(run_dir: Path, path: Path) -> str:
    if not run_dir.is_dir():
        raise UsageError(f"There is no run folder [{run_dir}]. Check the name of the run.")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(
            f"The run [{run_dir}] has no {RESULT}: it ended before it had measured anything. "
            "See its logs for the reason, then run the scenario again."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read [{path}]: {error}. Check the file.") from error


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"[{path}] is not JSON: {error.msg} in line {error.lineno}. "
            "It was changed or cut short; run the scenario again."
        ) from error


def _write_json(path: Path, body: object) -> None:
    path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
