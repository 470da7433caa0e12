"""Sources of a real release, each on a real proxy: started, asked, and checked.

A working tree, a commit and a wheel run side by side; the commit with a configuration of the user's
own, the wheel with one whose callbacks stay on.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from harness.domain.served import WORKER_HEADER
from harness.errors import InvalidRunError, SetupError
from harness.observe.snapshots import watch
from harness.process.guard import TOKEN_VARIABLE
from harness.process.loopback import local_http
from harness.stack.base import Fleet, FleetSpec
from harness.stack.embedded import EmbeddedStack
from harness.targets.base import Target
from harness.targets.litellm import snapshot
from harness.targets.litellm.inside.origin import digest_of
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.kind import LiteLLMKind
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.sources import CodeSource, Config
from harness.targets.settings import MASTER_KEY_VARIABLE, SETTINGS_VARIABLE, RunSettings
from tests.silence import Silence
from tests.targets.litellm.upstream import KEY_READ, Upstream, upstream, wheel_of
from tests.targets.world import COST_MICRO, MODEL, one_key, running_stack, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

RELEASE = "litellm==1.94.0"
PLANT = """
from litellm.untracked import WORD
@app.get("/health/planted")
def planted(): return WORD
"""
SECRET = "s3cret-0f-the-user"
NAMED = "KEY_OF_A_PROVIDER"
REQUESTS = 5
HOOKS = """
import os
import urllib.request

from litellm.integrations.custom_logger import CustomLogger


class Hook(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        urllib.request.urlopen(os.environ["CANARY"] + "/callback", data=b"", timeout=30)


hook = Hook()
"""


class Canary:
    """Stands in for every real service: remembers what it was asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        paths = self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                paths.append(self.path)
                self.send_response(200)
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - the server's name for it

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def canary() -> Iterator[Canary]:
    made = Canary()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def own_config(folder: Path, address: str) -> Path:
    """A configuration that would lead to the canary in every way that it can."""
    folder.mkdir()
    (folder / "hooks.py").write_text(HOOKS, encoding="utf-8")
    model = {
        "model": "openai/gpt",
        "api_key": f"os.environ/{NAMED}",
        "api_base": f"{address}/v1",
        "max_retries": 0,
    }
    content = {
        "model_list": [{"model_name": "gpt", "litellm_params": model}],
        "general_settings": {
            "master_key": SECRET,
            "completion_model": "gpt",
            "alerting": ["slack"],
            "pass_through_endpoints": [{"path": "/out", "target": f"{address}/out"}],
        },
        "litellm_settings": {"callbacks": ["hooks.hook"], "drop_params": True},
        "router_settings": {"model_group_alias": {MODEL: "gpt", "other": "gpt"}},
        "environment_variables": {"CANARY": address, "SLACK_WEBHOOK_URL": f"{address}/slack"},
    }
    path = folder / "mine.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@dataclass
class World:
    """The fleets by the names of their variants, and what they were made of."""

    stack: EmbeddedStack
    fleets: dict[str, Fleet]
    made: Upstream
    canary: Canary

    def source(self, name: str) -> Any:
        source = self.fleets[name].spec.target.source
        assert source is not None
        return source


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sources")
    with (
        pytest.MonkeyPatch.context() as patch,
        running_stack(folder / "logs") as (stack, run),
        canary() as watched,
    ):
        patch.setattr(snapshot, "sources_root", lambda: folder / "copies")
        environment = run(ensure_environment(parse_release(RELEASE), Silence()))
        made = upstream(environment, folder / "lite llm, #1+")
        made.repository.append("litellm/proxy/proxy_server.py", PLANT)
        made.repository.write("litellm/untracked.py", "WORD = 'planted'\n")
        (folder / "dist").mkdir()
        wheel = wheel_of(environment, folder / "dist", KEY_READ)
        off = own_config(folder / "off", f"{watched.url}/off")
        kept = own_config(folder / "kept", f"{watched.url}/kept")
        names = {
            f"head=litellm@{made.repository.folder}": None,
            f"base=litellm@{made.repository.folder}#{made.comment}": Config(off),
            f"litellm@{wheel}": Config(kept, keep_callbacks=True),
        }
        # None of these may reach a replica, but the one that the configuration names.
        patch.setenv("PYTHONPATH", str(made.repository.folder))
        patch.setenv("PYTHONSAFEPATH", "1")
        for name in (NAMED, "OPENAI_API_KEY", "SLACK_WEBHOOK_URL"):
            patch.setenv(name, SECRET)

        async def start(name: str, config: Config | None) -> Fleet:
            kind = LiteLLMKind()
            choice = kind.choose(name)
            assert isinstance(choice, CodeSource)
            target = await kind.target(replace(choice, config=config), Silence())
            settings = RunSettings(ttl_s=60.0, cost_micro=COST_MICRO)
            return await stack.start(FleetSpec(choice.name, target, 1, 1, settings))

        async def all_of_them() -> list[Fleet]:
            return [*await asyncio.gather(*(start(*one) for one in names.items()))]

        # The repository may go on while a copy of it runs.
        fleets = {fleet.spec.name: fleet for fleet in run(all_of_them())}
        made.repository.write("litellm/untracked.py", "WORD = 'later'\n")
        yield World(stack, fleets, made, watched)


def wheel_name(world: World) -> str:
    return next(name for name in world.fleets if name not in {"head", "base"})


async def planted(fleet: Fleet) -> str | None:
    async with local_http(timeout=60.0) as http:
        answer = await http.get(f"{fleet.replica_urls[0]}/health/planted")
    return answer.text if answer.status_code == 200 else None


async def ask(fleet: Fleet, key: str, model: str = MODEL) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    async with local_http(timeout=60.0) as http:
        return await http.post(
            f"{fleet.replica_urls[0]}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key}"},
        )


async def key_reads(fleet: Fleet) -> int:
    """How often the key of some requests is read from Postgres."""
    key = await one_key(fleet.dsn, "team")
    async with watch(fleet) as observer:
        before = await observer.at_rest(60.0)
        for _ in range(REQUESTS):
            answer = await ask(fleet, key.secret)
            assert answer.status_code == 200, answer.text
            assert answer.headers[WORKER_HEADER] == "0.0"
        after = await observer.at_rest(60.0)
    counted = after.total.since(before.total)
    return int(counted.sum("authcache_source_reads_total", object="key"))


async def test_each_source_runs_its_own_code(world: World) -> None:
    assert [await planted(world.fleets[name]) for name in ("head", "base")] == ['"planted"', None]
    reads = {name: await key_reads(fleet) for name, fleet in world.fleets.items()}
    # The tree holds all commits, the commit none of the reads, the wheel the first.
    assert reads["base"] < REQUESTS
    assert reads["head"] == reads[wheel_name(world)] == reads["base"] + REQUESTS


def test_each_source_says_what_it_is(world: World) -> None:
    commit = world.made.repository.git("rev-parse", "HEAD")
    head, base, wheel = (world.source(name) for name in ("head", "base", wheel_name(world)))
    assert (head["kind"], head["identity"], head["uncommitted"]) == ("tree", commit, 2)
    assert (base["kind"], base["identity"]) == ("commit", world.made.comment)
    assert base["uncommitted"] == 0
    assert (wheel["kind"], len(wheel["identity"])) == ("wheel", 64)
    assert {one["laid_over"] for one in (head, base, wheel)} == {RELEASE}
    assert len({one["digest"] for one in (head, base, wheel)}) == 3
    # A git tree has none, so it runs with the environment's, and each worker has said so.
    assert all(one["native"] for one in (head, base, wheel))
    notes = [" ".join(one.spec.target.notes) for one in world.fleets.values()]
    assert [RELEASE in note.partition("native file is that of")[2] for note in notes] == [
        *(True, True, False)
    ]
    assert "its native file is its own" in notes[-1]


def test_only_what_the_configuration_names_reaches_a_replica(world: World) -> None:
    passed_on = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
    passed_on |= {SETTINGS_VARIABLE, MASTER_KEY_VARIABLE, TOKEN_VARIABLE}
    pids = world.stack.pids()
    for name, fleet in world.fleets.items():
        (pid,) = pids[f"fleet:{fleet.spec.name}"][-1:]
        env = psutil.Process(pid).environ()
        named = set() if name == "head" else {NAMED}
        # Coverage of a test run includes the replicas.
        assert {one for one in env if not one.startswith("COVERAGE_")} - passed_on == named, name
        assert str(world.made.repository.folder) not in " ".join(env.values())


async def test_no_load_leads_to_a_service_unless_its_callbacks_are_kept(world: World) -> None:
    base, wheel = world.fleets["base"], world.fleets[wheel_name(world)]
    for fleet in (base, wheel):
        for model in (MODEL, "gpt", "other"):
            answer = await ask(fleet, fleet.spec.master_key, model)
            assert answer.status_code == 200, answer.text
            assert "mock" in answer.json()["choices"][0]["message"]["content"]
    await until(lambda: "/kept/callback" in world.canary.paths)
    # No model was called even there.
    assert [one for one in world.canary.paths if one.startswith("/kept/v1")] == []
    mine = "mine.yaml"
    notes = {name: " ".join(fleet.spec.target.notes) for name, fleet in world.fleets.items()}
    assert f"{mine}: set by the harness: general_settings.master_key" in notes["base"]
    assert "litellm_settings.callbacks" in notes["base"].partition(f"{mine}: off")[2]
    assert "litellm_settings.callbacks" in notes[wheel.spec.name].partition(f"{mine}: on, and")[2]
    assert mine not in notes["head"]


async def test_what_is_off_is_never_called(world: World) -> None:
    base = world.fleets["base"]
    async with watch(base) as observer:
        for _ in range(REQUESTS):
            assert (await ask(base, base.spec.master_key)).status_code == 200
        # A release logs a success in a task of the request, which is pending until it ends.
        await observer.at_rest(60.0)
    assert [one for one in world.canary.paths if one.startswith("/off")] == []


def test_a_secret_is_in_no_log_note_or_description(world: World) -> None:
    logs = [path for path in world.stack._logs.rglob("*") if path.is_file()]
    assert len(logs) >= 3
    assert [path for path in logs if SECRET.encode() in path.read_bytes()] == []
    for fleet in world.fleets.values():
        target = fleet.spec.target
        said = json.dumps([target.notes, dict(target.describe()), dict(target.source or {})])
        assert SECRET not in said


async def start_alone(folder: Path, target: Target) -> None:
    stack = EmbeddedStack(folder)
    try:
        await stack.open()
        await stack.start(FleetSpec("head", target, 1, 1, RunSettings(ttl_s=60.0)))
    finally:
        await stack.close()


@pytest.mark.long
async def test_any_other_code_is_noticed(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "sources_root", lambda: tmp_path / "copies")
    kind = LiteLLMKind()
    chosen = kind.choose(f"head=litellm@{world.made.repository.folder}")
    target = await kind.target(chosen, Silence())
    assert target.origin is not None
    code = Path(target.origin.folder)
    assert digest_of(code) == target.origin.digest

    # As a sitecustomize would, or a file that is changed in the cache.
    (code / "litellm/untracked.py").write_text("WORD = 'changed'\n", encoding="utf-8")
    with pytest.raises(InvalidRunError, match="its digest is"):
        await start_alone(tmp_path / "one", target)

    (code / "litellm/untracked.py").write_text("raise ValueError('broken tree')\n")
    with pytest.raises(SetupError, match="broken tree"):
        await start_alone(tmp_path / "two", target)
