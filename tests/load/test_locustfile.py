"""Locust by itself, as a user starts it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from harness.domain.population import VirtualKey
from harness.process.sockets import free_port
from tests.load.replica import FakeReplica, Reply, is_chat

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120


@asynccontextmanager
async def locust(*options: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AUTHCACHE_", "LOCUST_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "locust", "-f", str(ROOT / "locustfile.py"), *options),
        cwd=ROOT,
        env={**clean, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(*options: str, **environment: str) -> tuple[int | None, str, str]:
    """Exit code, standard output and standard error of a headless run."""
    headless = ("--headless", "-u", "4", "-r", "4", "-t", "3s", "--only-summary", "--json")
    async with locust(*headless, *options, **environment) as process:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode, out.decode(), err.decode()


async def test_plain_locust_drives_all_scopes_and_all_replicas(
    keys: list[VirtualKey], keys_file: Path
) -> None:
    scopes = {k.secret: k.scope for k in keys}
    # so slow that some are always on their way, at the end too
    behave = lambda secret, _: Reply(401 if scopes[secret] == "member" else 200, delay_s=0.2)  # noqa: E731  # short
    async with FakeReplica(behave) as first, FakeReplica(behave) as second:
        hosts = f"{first.url},{second.url}/"
        code, out, err = await run("--hosts", hosts, "--keys-file", str(keys_file), "--rate", "20")
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == {"team", "user", "shared_id", "member"}, err
    # a 401 is a failure to Locust, and failures make it exit with 1
    assert rows["member"]["num_failures"] == rows["member"]["num_requests"] > 0
    assert sum(row["num_failures"] for row in rows.values()) == rows["member"]["num_failures"]
    assert code == 1
    secrets = first.secrets + second.secrets
    assert {scopes[secret] for secret in secrets} == set(rows)
    for scope, row in rows.items():
        # what was on its way at the end was waited for
        on_the_wire = sum(n for secret, n in secrets.items() if scopes[secret] == scope)
        assert on_the_wire == row["num_requests"]
    assert abs(first.requests - second.requests) <= 4
    assert all(is_chat(body) for body in first.bodies)


async def test_the_mix_sets_the_weights_and_the_environment_the_options(
    keys: list[VirtualKey], keys_file: Path
) -> None:
    async with FakeReplica() as replica:
        code, out, err = await run(
            AUTHCACHE_HOSTS=replica.url,
            AUTHCACHE_KEYS=str(keys_file),
            AUTHCACHE_MIX="team=3,user=1",
            AUTHCACHE_RATE="50",
        )
    assert code == 0, err
    counts = {row["name"]: row["num_requests"] for row in json.loads(out)}
    assert set(counts) == {"team", "user"}
    # three users of four, each at the same rate
    assert counts["team"] > counts["user"] > 0
    scopes = {k.secret: k.scope for k in keys}
    assert Counter(scopes[s] for s in replica.secrets).keys() == counts.keys()


async def test_host_is_used_without_hosts(keys_file: Path) -> None:
    async with FakeReplica() as replica:
        code, _, err = await run("--host", replica.url, "--keys-file", str(keys_file))
    assert code == 0, err
    assert replica.requests > 0


# Locust takes a second to start. This is what it does with the options and the users.
WRONG = """
import json, os, sys
from locust import events
from locust.argument_parser import parse_options
from locust.env import Environment
import locustfile
for wrong in json.loads(sys.argv[1]):
    for name in [name for name in os.environ if name.startswith("AUTHCACHE_")]:
        del os.environ[name]
    os.environ.update(wrong)
    environment = Environment(
        events=events,
        parsed_options=parse_options(["--headless"]),
        user_classes=[getattr(locustfile, name) for name in locustfile.__all__],
    )
    try:
        events.init.fire(environment=environment, runner=None, web_ui=None)
    except SystemExit as ended:
        print(ended.code, file=sys.stderr)
"""


def test_what_is_missing_or_wrong_is_one_message_and_exit_code_2(
    keys_file: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.json"
    few.write_text('[{"index": 0, "scope": "team", "secret": "sk-1"}]')
    given = {"AUTHCACHE_KEYS": str(keys_file), "AUTHCACHE_HOSTS": "http://a"}
    wrong = {
        "No virtual keys are given": {"AUTHCACHE_HOSTS": "http://127.0.0.1:1"},
        "No replica is named": {"AUTHCACHE_KEYS": str(keys_file)},
        "Did you mean [team]?": given | {"AUTHCACHE_MIX": "tema=1"},
        "scope [user], but the keys file has no key of it": given
        | {"AUTHCACHE_KEYS": str(few), "AUTHCACHE_MIX": "user=1"},
        "The rate is [0.0]": given | {"AUTHCACHE_RATE": "0"},
    }
    done = subprocess.run(
        [sys.executable, "-c", WRONG, json.dumps(list(wrong.values()))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    told = done.stderr.split("\n2\n")
    assert told.pop() == ""
    for message, text in zip(wrong, told, strict=True):
        assert message in text
        assert "\n" not in text


async def test_users_without_a_weight_are_a_usage_error(keys_file: Path) -> None:
    code, _, err = await run(
        "TeamKeyUser", "--host", "http://a", "--keys-file", str(keys_file), "--mix", "user=1"
    )
    assert code == 2
    assert "None of the chosen users has a scope of the mix [user]" in err
    assert "Traceback" not in err


async def test_the_web_form_has_the_options_and_takes_them(keys_file: Path) -> None:
    port = free_port()
    web = ("--web-host", "127.0.0.1", "--web-port", str(port))
    driven = asyncio.Event()

    def behave(_: str, number: int) -> Reply:
        if number == 10:
            driven.set()
        return Reply()

    async with FakeReplica(behave) as replica, locust(*web) as process:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as browser:
            page = await asyncio.wait_for(until_up(browser), TIMEOUT_S)
            assert all(f'"{name}"' in page for name in ("hosts", "keys_file", "mix", "rate"))
            form = {"user_count": "4", "spawn_rate": "4", "mix": "team=1", "rate": "50"}
            form |= {"hosts": replica.url, "keys_file": str(keys_file)}
            answer = await browser.post("/swarm", data=form)
            assert answer.json()["success"] is True
            await asyncio.wait_for(driven.wait(), TIMEOUT_S)
            await browser.get("/stop")
            stats = (await browser.get("/stats/requests")).json()
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert {row["name"] for row in stats["stats"]} == {"team", "Aggregated"}
    assert "No replica is named" in err.decode(), "without options it starts, and says so"
    assert process.returncode == 0


async def until_up(browser: httpx.AsyncClient) -> str:
    while True:
        try:
            return (await browser.get("/")).text
        except httpx.TransportError:
            await asyncio.sleep(0.1)
