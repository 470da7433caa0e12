"""Where a worker's code came from: reported by the worker, checked against the plan."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InvalidRunError
from harness.stack.embedded.readiness import check_origin
from harness.targets.base import Origin
from harness.targets.litellm.inside import boot
from harness.targets.litellm.inside.origin import digest_of
from harness.targets.litellm.inside.settings import Settings

PAGE = (
    "# TYPE authcache_origin_info gauge\n"
    'authcache_origin_info{{folder="{folder}",native="{native}",digest="{digest}",variant="v"}} 1\n'
)
PLAN = Origin("/site", native=True, digest="d1")


def page(folder: str = "/site", native: str = "yes", digest: str = "d1") -> str:
    return PAGE.format(folder=folder, native=native, digest=digest)


def test_a_worker_that_runs_what_was_planned_is_accepted() -> None:
    check_origin("v", page(), PLAN)
    check_origin("v", page(native="no", digest=""), replace(PLAN, native=False, digest=""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (page(folder="/other"), r"its folder is \[/other\], not \[/site\]"),
        (page(native="no"), r"its native is \[no\], not \[yes\]"),
        (page(digest="d2"), r"its digest is \[d2\], not \[d1\]"),
        ("", "does not report where its code came from"),
        (page() + page(digest="d2").split("\n")[1] + "\n", "does not report"),
    ],
)
def test_any_other_makes_the_run_invalid(text: str, message: str) -> None:
    with pytest.raises(InvalidRunError, match=message):
        check_origin("v", text, PLAN)


@pytest.mark.parametrize(
    ("laid", "folders"),
    [
        ({}, ["site"]),
        ({"litellm": "tree"}, ["tree"]),
        ({"litellm": "tree", "litellm_enterprise": "tree"}, ["tree"]),
        ({"litellm": "tree", "litellm_enterprise": "site"}, ["site", "tree"]),
    ],
)
def test_a_process_reports_what_it_imported(
    tmp_path: Path, laid: dict[str, str], folders: list[str]
) -> None:
    """As a replica starts: packages that are laid are found before those of the environment."""
    for place in ("tree", "site"):
        for name in ("litellm", "litellm_enterprise"):
            package = tmp_path / place / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(f"FROM = {place!r}\n", encoding="utf-8")
    (tmp_path / "tree" / "litellm" / "_native.abi3.so").write_bytes(b"cannot be imported")
    tree = tmp_path / "tree"
    settings = Settings(
        variant="v",
        version="1",
        dsn="",
        ttl_s=1.0,
        laid={name: str(tmp_path / place / name) for name, place in laid.items()},
    )
    script = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "from harness.targets.litellm.inside import boot\n"
        f"sys.meta_path.insert(0, boot.Finder(boot.packages({settings.encode()!r})))\n"
        "import litellm\n"
        "from harness.targets.litellm.inside.origin import reported\n"
        f"print(json.dumps([litellm.FROM, reported({[*settings.laid]})]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=boot.HARNESS.parent,
    )
    source, said = json.loads(done.stdout)
    assert source == ("tree" if laid else "site")
    # A native file that cannot be imported is one that LiteLLM goes without.
    assert said == {
        "folder": " and ".join(str(tmp_path / place) for place in folders),
        "native": "no",
        "digest": digest_of(tree) if laid else "",
    }
