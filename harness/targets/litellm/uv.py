"""The package manager: where it is, its command lines, how it is run and ended."""

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
"""That the project supports, as in its pyproject.toml."""
_END_GRACE_S = 5.0
_PASSED_ON = (
    *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_KEYRING_PROVIDER", "UV_CREDENTIALS_DIR", "UV_INSECURE_HOST", "UV_OFFLINE"),
    *("UV_CACHE_DIR", "UV_NO_CACHE", "UV_LINK_MODE", "UV_CONCURRENT", "UV_CONFIG_FILE"),
    *("UV_HTTP", "UV_REQUEST_TIMEOUT", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
)
"""Beginnings of names: where packages come from and how, but not which. A variable as UV_OVERRIDE
would change what a release consists of."""


class UvError(Exception):
    """uv ended with an error; the text is what it wrote."""


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
        f"There is no uv beside [{sys.executable}] or on PATH, and releases are installed with "
        "it. Use the project's environment (make sets it up), or install it: pip install uv."
    )


def compile_command(
    uv: Path, source: Path, output: Path, overrides: Path | None, *, universal: bool
) -> tuple[str, ...]:
    """Resolve requirements into hashed pins.

    Universal pins hold on every platform and on every Python that the project supports; the others
    on the running one, so that what some other Python lacks is in nobody's way.
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

    Compiled at once, because sixteen replicas may start at a time.
    """
    return (
        *(str(uv), "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--compile-bytecode"),
        *("--python", str(folder / "bin" / "python"), "--requirement", str(pins)),
    )


def uv_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What uv is told: where packages come from, and to use no Python but the running one."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("UV_") or name.startswith(_PASSED_ON)
    }
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME"):
        kept.pop(name, None)
    # A file that takes long to compile on a loaded machine is no failure.
    return kept | {"UV_PYTHON_DOWNLOADS": "never", "UV_COMPILE_BYTECODE_TIMEOUT": "600"}


async def run_uv(command: Sequence[str], folder: Path) -> None:
    """Run uv in a folder; when cancelled, end it and everything it started.

    Raises:
        UvError: it ended with an error.
    """
    done = await groups.run(
        *command, cwd=folder, env=uv_environment(os.environ), grace_s=_END_GRACE_S
    )
    if done.code != 0:
        raise UvError(done.err.strip() or f"exit code {done.code}")
