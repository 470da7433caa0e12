"""Repositories laid out as LiteLLM's own, made out of an environment's files at test time."""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from harness.targets.litellm.environment import RECORD, Environment, Record
from harness.targets.litellm.inside.origin import PACKAGES

_NAME = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
_EXTRA = re.compile(r"(\s+and\s+|\s*;\s*)extra == 'proxy'")


class Repository:
    """A git repository in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        """What git prints."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *_NAME, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=env,
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        """A file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        """More of a file."""
        self.write(name, (self.folder / name).read_text(encoding="utf-8") + text)

    def commit(self, message: str) -> str:
        """Commit everything; its hash."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")


def repository_of(environment: Environment, folder: Path) -> Repository:
    """A repository whose first commit is the release of an environment, without native file."""
    site, version = environment.site_packages, environment.version
    left_out = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
    for package, place in PACKAGES.items():
        if (site / package).is_dir():
            shutil.copytree(site / package, folder / place, ignore=left_out)
    asked: dict[bool, list[str]] = {False: [], True: []}
    metadata = site / f"litellm-{version}.dist-info" / "METADATA"
    if metadata.is_file():
        lines = Parser().parsestr(metadata.read_text(encoding="utf-8")).get_all("Requires-Dist", [])
        for line in lines:
            if "extra ==" not in line or "'proxy'" in line:
                asked["extra ==" in line].append(_EXTRA.sub("", line))
    made = Repository(folder)
    made.write("pyproject.toml", pyproject(version, asked[False], asked[True]))
    made.write(".gitignore", "__pycache__/\n*.so\nignored.py\n")
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit("the release")
    return made


def pyproject(version: str, asked: list[str], proxy: list[str], name: str = "litellm") -> str:
    """A project's file, as upstream has it."""
    return (
        f'[project]\nname = "{name}"\nversion = "{version}"\ndependencies = {json.dumps(asked)}\n'
        f"[project.optional-dependencies]\nproxy = {json.dumps(proxy)}\n"
    )


def small_environment(
    folder: Path, *, native: bool = True, version: str = "1.105.7"
) -> Environment:
    """An environment with three small packages, and a file that stands for the native one."""
    site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for name in ("litellm", "litellm/proxy", "litellm_enterprise", "litellm_proxy_extras"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("", encoding="utf-8")
    if native:
        (site / "litellm" / "rust_bridge").mkdir()
        (site / "litellm" / "rust_bridge" / "__init__.py").write_text("", encoding="utf-8")
        (site / "litellm" / "rust_bridge" / "_native.abi3.so").write_bytes(b"native")
    (site / "litellm" / "proxy" / "app.py").write_text("KEPT = 1\n", encoding="utf-8")
    compileall.compile_dir(site, quiet=1)
    (folder / "bin").mkdir()
    # A link would be its base's Python, without the packages of this one.
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    record = Record(
        version=version,
        python="3.11.0",
        recorded_pins=True,
        packages={"litellm": version, "fastapi": "0.136.3"},
        installed_bytes=0,
        seconds=0.0,
    )
    (folder / RECORD).write_text(record.model_dump_json(), encoding="utf-8")
    return Environment(folder, record)


def wheel(folder: Path, *, name: str = "litellm", version: str = "1.105.7") -> Path:
    """A wheel of a small LiteLLM; a different name is also in its metadata."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("litellm/__init__.py", "FROM = 'wheel'\n")
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        archive.writestr(f"{name}-{version}.dist-info/METADATA", about)
        archive.writestr("../escaped.py", "")
    return path
