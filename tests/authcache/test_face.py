"""The package used alone: what it shows, what it loads, and CONTRIBUTING's example of a codec."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import authcache

ROOT = Path(__file__).parents[2]
ALONE = """
import asyncio, json, sys
from harness import authcache

@authcache.register
class Mine:
    name = "mine"
    summary = "JSON, for teams alone"

    def encode(self, kind, value):
        if kind is not authcache.ObjectKind.TEAM:
            raise authcache.EncodeError(f"no {kind}")
        return value.model_dump_json().encode()

    def decode(self, kind, payload, model):
        return model.model_validate_json(payload)

async def main():
    cache = authcache.AuthCache(
        switches=authcache.Switches(codec="mine", redis="off"),
        codec=authcache.load_codec("mine"),
        memory=authcache.MemoryTier(200),
        redis=None,
        recorder=authcache.NullRecorder(),
        ttl_s=60.0,
    )
    trace = authcache.Trace()
    rows = {
        authcache.ObjectKind.TEAM: authcache.Team(team_id="t", max_budget=1.0),
        authcache.ObjectKind.USER: authcache.User(user_id="u", max_budget=1.0),
    }
    for kind, row in rows.items():
        for _ in range(2):
            async def read():
                return row
            found = await cache.load(kind, str(kind), read, trace)
            assert found.value == row
    return [(one.kind, one.outcome) for one in trace.lookups]

outcomes = asyncio.run(main())
ours = [name for name in sys.modules if name.partition(".")[0] == "harness"]
print(json.dumps([outcomes, ours]))
"""
LOADS = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(" ".join(sys.modules))
"""


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cache_with_a_codec_of_ones_own_needs_nothing_else_of_the_harness() -> None:
    outcomes, ours = json.loads(python(ALONE))
    # What the codec refuses to encode never gets into memory.
    assert outcomes == [["team", "miss"], ["team", "hit"], ["user", "miss"], ["user", "miss"]]
    others = {name for name in ours if not name.startswith("harness.authcache")}
    assert others == {"harness", "harness.errors"}


@pytest.mark.parametrize("module", ["harness.authcache", "harness.authcache.words"])
def test_the_face_and_the_words_load_no_library(module: str) -> None:
    loaded = python(LOADS, module).split()
    assert module in loaded
    assert not {"pydantic", "msgspec", "redis", "hiredis", "ormsgpack", "asyncio"} & set(loaded)


@pytest.mark.parametrize("name", authcache.__all__)
def test_every_name_of_the_face_leads_to_what_is_defined_under_it(name: str) -> None:
    assert getattr(authcache, name).__name__ == name


def test_another_name_is_none_of_it() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Reversed'"):
        _ = authcache.Reversed  # type: ignore[attr-defined]


@pytest.fixture
def mine(tmp_path: Path) -> dict[str, str]:
    """CONTRIBUTING's example as the module ``mine``, and the environment in which it is found."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Add a codec\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert "mine:Reversed" in section
    (tmp_path / "mine.py").write_text(example, encoding="utf-8")
    # The first is what `python -c` would have found by itself.
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}


EXAMPLE = """
import json
from harness.authcache import ObjectKind, Team, load_codec, probe
from harness.cli.commands.options import chosen_variants
from harness.scenario.loader import load_scenario

codec = load_codec("mine:Reversed")
probe(codec, "mine:Reversed")
team = Team(team_id="t", max_budget=1.5, models=["m"])
payload = codec.encode(ObjectKind.TEAM, team)
back = codec.decode(ObjectKind.TEAM, payload, Team)
overrides = ("recommended:codec=mine:Reversed",)
chosen = chosen_variants(load_scenario("issue-27874"), None, overrides)
codecs = {one.name: one.switches.codec for one in chosen}
print(json.dumps([payload[:1].decode(), back == team, codecs["recommended"]]))
"""


def test_the_example_of_a_codec_works_as_it_stands(mine: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLE], env=mine, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told: list[Any] = json.loads(done.stdout)
    assert told == ["}", True, "mine:Reversed"]
