"""A repository of LiteLLM with known changes, and a wheel, both made of an installed release."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.targets.litellm.environment import Environment
from harness.targets.litellm.inside.origin import files_of
from tests.targets.litellm.repository import Repository, repository_of

AUTH = "litellm/proxy/auth/user_api_key_auth.py"
COMMENT = "\n# A comment that changes nothing.\n"
# The caller looks the function up by its name in the module, in every release from 1.83 on.
_READ = """

_before_{name} = _user_api_key_auth_builder


async def _user_api_key_auth_builder(*args, **kwargs):
    from litellm.proxy.proxy_server import prisma_client

    found = await _before_{name}(*args, **kwargs)
    if kwargs["request"].url.path.endswith("/chat/completions"):
        await prisma_client.db.{table}.find_unique(where={where})
    return found
"""
KEY_READ = _READ.format(
    name="key_read", table="litellm_verificationtoken", where='{"token": found.token}'
)
"""Reads the key again on every request."""
OTHER_TABLE = "LiteLLM_EndUserTable"
OTHER_READ = _READ.format(
    name="other_read", table=OTHER_TABLE.lower(), where='{"user_id": "planted"}'
)
"""Reads a table that is none of the four objects on every request."""


class Upstream(NamedTuple):
    """A repository, and its commits in their order; each holds the changes before it."""

    repository: Repository
    release: str
    comment: str
    key_read: str
    other_read: str


def upstream(environment: Environment, folder: Path) -> Upstream:
    """A repository laid out as LiteLLM's, without a native file, with four commits on ``main``."""
    repository = repository_of(environment, folder)
    commits = [repository.git("rev-parse", "HEAD")]
    for message, text in (
        ("a comment", COMMENT),
        ("reads the key on every request", KEY_READ),
        ("reads an end user on every request", OTHER_READ),
    ):
        repository.append(AUTH, text)
        commits.append(repository.commit(message))
    return Upstream(repository, *commits)


def wheel_of(
    environment: Environment,
    folder: Path,
    added: str = "",
    *,
    version: str = "",
    requires: Sequence[str] = (),
) -> Path:
    """A wheel of an environment's release, with its native file.

    Args:
        environment: of the release.
        folder: for the wheel.
        added: is put after `AUTH`.
        version: in its metadata; the release's own by default.
        requires: more requirements of the proxy.
    """
    site, own = environment.site_packages, environment.version
    version = version or own
    info, told = f"litellm-{own}.dist-info", f"litellm-{version}.dist-info"
    headers, _, body = (site / info / "METADATA").read_text(encoding="utf-8").partition("\n\n")
    headers = headers.replace(f"\nVersion: {own}", f"\nVersion: {version}")
    headers += "".join(f"\nRequires-Dist: {one}; extra == 'proxy'" for one in requires)
    texts = {f"{told}/METADATA": f"{headers}\n\n{body}".encode()}
    texts[f"{told}/WHEEL"] = (site / info / "WHEEL").read_bytes()
    path = folder / f"litellm-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in files_of(site / "litellm"):
            name = file.relative_to(site).as_posix()
            text = file.read_bytes()
            texts[name] = text + added.encode() if name == AUTH else text
        record = f"{told}/RECORD"
        texts[record] = "".join(f"{name},,\n" for name in (*texts, record)).encode()
        for name, text in texts.items():
            archive.writestr(name, text)
    return path
