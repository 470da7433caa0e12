"""The package manager uv: finding it, its command lines, running it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import SetupError
from harness.process import groups

_PYTHON = sys.executable
_OLDEST_PYTHON = "3.11"
"""The oldest that the project supports, as in its pyproject.toml."""
_END_GRACE_S = 5.0
_PASSED_ON = (
    *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_KEYRING_PROVIDER", "UV_CREDENTIALS_DIR", "UV_INSECURE_HOST", "UV_OFFLINE"),
    *("UV_CACHE_DIR", "UV_NO_CACHE", "UV_LINK_MODE", "UV_CONCURRENT", "UV_CONFIG_FILE"),
    *("UV_HTTP", "UV_REQUEST_TIMEOUT", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
)
"""Prefixes of variables that say where packages come from and how, but not which. A variable such
as UV_OVERRIDE would change what is installed."""


class UvError(Exception):
    """uv failed; the text is its error output."""


def find_uv() -> Path:
    """The uv of the running environment, else the one on PATH. Raises SetupError."""
    beside = Path(sys.executable).parent / "uv"
    if beside.is_file():
        return beside
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin  # noqa: PLC0415 - it may not be installed as a package

        return Path(find_uv_bin())
    if found := shutil.which("uv"):
        return Path(found)
    raise SetupError(
        f"uv is neither next to [{sys.executable}] nor on PATH, and installing releases needs it. "
        "Use the project's environment (make sets it up), or install it: pip install uv."
    )


def compile_command(
    uv: Path, source: Path, output: Path, overrides: Path | None, *, universal: bool
) -> tuple[str, ...]:
    """Resolve requirements into hashed pins.

    Universal pins are valid on every platform and every Python that the project supports; the
    others only on the running ones, so that a wheel missing for another Python does not matter.
    """
    where = (
        ("--universal", "--python-version", _OLDEST_PYTHON) if universal else ("--python", _PYTHON)
    )
    return (
        *(str(uv), "pip", "compile", "--quiet", *where),
        *("--generate-hashes", "--no-annotate", "--no-header", "--only-binary", ":all:"),
        *(("--overrides", str(overrides)) if overrides is not None else ()),
        *("--output-file", str(output), str(source)),
    )


def venv_command(uv: Path, folder: Path) -> tuple[str, ...]:
    """Make an environment that can be renamed, for the running Python."""
    return (
        *(str(uv), "venv", "--quiet", "--no-project", "--relocatable"),
        *("--python", _PYTHON, str(folder)),
    )


def install_command(uv: Path, folder: Path, pins: Path) -> tuple[str, ...]:
    """Install exactly the pins: nothing is resolved, built, or taken without its hash.

    Bytecode is compiled now, because sixteen replicas may start at once.
    """
    return (
        *(str(uv), "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--compile-bytecode"),
        *("--python", str(folder / "bin" / "python"), "--requirement", str(pins)),
    )


def uv_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment variables for uv: the package sources, and no Python but the running one."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("UV_") or name.startswith(_PASSED_ON)
    }
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME"):
        kept.pop(name, None)
    # A file that takes long to compile on a loaded machine is not a failure.
    return kept | {"UV_PYTHON_DOWNLOADS": "never", "UV_COMPILE_BYTECODE_TIMEOUT": "600"}


async def run_uv(command: Sequence[str], folder: Path) -> None:
    """Run uv in a folder; when cancelled, end it and everything it started.

    Raises:
        UvError: it failed.
    """
    done = await groups.run(
        *command, cwd=folder, env=uv_environment(os.environ), grace_s=_END_GRACE_S
    )
    if done.code != 0:
        raise UvError(done.err.strip() or f"exit code {done.code}")
