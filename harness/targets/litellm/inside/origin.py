"""Where a worker's LiteLLM came from: what a worker reports, and what a run's plan expects.

Standard library only: both sides use it, and it runs in the environments of releases.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {
    "litellm": "litellm",
    "litellm_enterprise": "enterprise/litellm_enterprise",
    "litellm_proxy_extras": "litellm-proxy-extras/litellm_proxy_extras",
}
"""The packages of a source by name, and where each is in upstream's repository."""
NATIVE_SUFFIXES = (".so", ".pyd")
_BLOCK = 1 << 20


def files_of(folder: Path) -> Iterator[Path]:
    """The files of a folder in a fixed order, without bytecode."""
    for path in sorted(folder.rglob("*")):
        if "__pycache__" not in path.parts and path.is_file():
            yield path


def digest_of(folder: Path) -> str:
    """SHA-256 over names and contents of all files of a folder, in hexadecimal digits."""
    whole = hashlib.sha256()
    for path in files_of(folder):
        content = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                content.update(block)
        name = path.relative_to(folder).as_posix()
        whole.update(f"{len(name.encode())} {name} {content.hexdigest()}\n".encode())
    return whole.hexdigest()


def native_files(package: Path) -> list[Path]:
    """The native files of a package, which a git tree does not have."""
    return [path for path in files_of(package) if path.suffix in NATIVE_SUFFIXES]


def found_folder(name: str) -> Path | None:
    """The folder that a package is imported from here; None where it cannot be found."""
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def reported(laid: Collection[str]) -> dict[str, str]:
    """What this process has: ``folder``, ``native`` (yes or no) and ``digest``.

    LiteLLM goes on without a native file and says nothing, so each is imported here.

    Args:
        laid: the packages that are laid over the environment. Only then there is a digest, of all
            of them; a release's files were checked against hashes when it was installed.
    """
    package = found_folder("litellm")
    if package is None:
        return {"folder": "", "native": "no", "digest": ""}
    others = {found_folder(name) for name in laid}
    folders = {str(package.parent), *(str(one and one.parent) for one in others)}
    native = [_imports(package, path) for path in native_files(package)]
    return {
        "folder": " and ".join(sorted(folders)),
        "native": "yes" if native and all(native) else "no",
        "digest": digest_of(package.parent) if laid else "",
    }


def _imports(package: Path, file: Path) -> bool:
    parts = file.relative_to(package.parent).parts
    try:
        importlib.import_module(".".join((*parts[:-1], parts[-1].partition(".")[0])))
    except ImportError:
        return False
    return True
