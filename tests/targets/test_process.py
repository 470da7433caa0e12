"""A replica as a process: how it starts, what it flushes, how its workers end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.observe.counters import Counters
from harness.process.groups import ENDING
from harness.process.sockets import free_port, listen
from harness.stack.base import Fleet
from harness.targets.settings import SETTINGS_VARIABLE
from harness.targets.workers import WORKER_VARIABLE
from tests.process.test_groups import entered_with
from tests.targets.replica import Replica, arguments, replica
from tests.targets.test_spend import charged
from tests.targets.world import VARIANTS, node_settings, one_key, seed, spent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("variant", "replies"), [("litellm_1_84", 0), ("recommended", 4)])
@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_flushes_what_was_charged_or_loses_it_as_releases_up_to_1_97_do(
    baseline: Fleet, variant: str, replies: int, workers: int, tmp_path: Path
) -> None:
    keys = await seed(baseline.dsn, {"member": 3})
    settings = node_settings(baseline, VARIANTS[variant].switches, spend_flush_s=3600.0)
    async with replica(settings, tmp_path, workers=workers) as one:
        for key in keys["member"]:
            for _ in range(4):
                assert (await one.chat(key.secret)).status_code == 200
        assert await spent(baseline.dsn, keys["member"][0]) == charged("member", 0)

        one.process.terminate()

        assert await one.ends() in (0, -signal.SIGTERM)
        for key in keys["member"]:
            assert await spent(baseline.dsn, key) == charged("member", replies)


async def pages_of(one: Replica) -> list[Counters]:
    """The pages of both workers, with nothing pending."""
    return [await fresh(one, worker) for worker in range(2)]


async def keep_both_busy(one: Replica, secrets: list[str]) -> int:
    """Ask until each of two workers has answered; how often that was."""
    answered = 0
    while min(page.sum("http_requests_total") for page in await pages_of(one)) == 0:
        answers = await asyncio.gather(*(one.chat(secret) for secret in secrets))
        assert {answer.status_code for answer in answers} == {200}
        answered += len(answers)
    return answered


async def test_every_worker_is_counted_by_itself(baseline: Fleet, tmp_path: Path) -> None:
    keys = await seed(baseline.dsn, {"team": 10, "user": 10})
    settings = node_settings(baseline, VARIANTS["litellm_1_84"].switches)
    async with replica(settings, tmp_path, workers=2) as one:
        assert [page.sum("http_requests_total") for page in await pages_of(one)] == [0, 0]

        secrets = [key.secret for several in keys.values() for key in several]
        answered = await keep_both_busy(one, secrets)

        total = Counters.total(await pages_of(one))
        assert total.sum("http_requests_total", status="200") == answered
        assert total.sum("http_requests_total", key_scope="team") == answered / 2
        assert total.sum("authcache_build_info") == 2


async def fresh(one: Replica, worker: int) -> Counters:
    """The page of one worker with nothing pending."""
    async with asyncio.timeout(60):
        while True:
            page = Counters.parse((await one.http.get(one.pages[worker])).text)
            if page.sum("authcache_pending") == 0:
                return page
            await asyncio.sleep(0.02)


async def test_a_replica_ends_with_the_first_of_its_workers(
    baseline: Fleet, tmp_path: Path
) -> None:
    keys = await seed(baseline.dsn, {"team": 20})
    settings = node_settings(baseline, VARIANTS["memory_only"].switches)
    async with replica(settings, tmp_path, workers=2) as one:
        await keep_both_busy(one, [key.secret for key in keys["team"]])
        workers = psutil.Process(one.process.pid).children()
        assert len(workers) == 2

        os.kill(workers[0].pid, signal.SIGKILL)

        assert await one.ends() != 0
        assert not any(worker.is_running() for worker in workers)


async def test_a_replica_starts_without_redis(baseline: Fleet, tmp_path: Path) -> None:
    key = await one_key(baseline.dsn, "team")
    switches = VARIANTS["recommended"].switches
    closed = "redis://127.0.0.1:1/0"
    async with replica(node_settings(baseline, switches, redis_url=closed), tmp_path) as one:
        assert (await one.chat(key.secret)).status_code == 200
        assert (await one.chat(key.secret)).status_code == 200


def started(settings: str | None, *options: str) -> subprocess.CompletedProcess[str]:
    """A replica that does not come up."""
    env = {name: value for name, value in os.environ.items() if name != SETTINGS_VARIABLE}
    if settings is not None:
        env[SETTINGS_VARIABLE] = settings
    return subprocess.run(
        arguments(*options), env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (None, f"error: The variable [{SETTINGS_VARIABLE}] is not set."),
        ("{", f"error: [{SETTINGS_VARIABLE}] is not valid."),
        ('{"variant": "v", "speed": 3}', "speed: there is no such field"),
    ],
)
def test_settings_that_cannot_be_read(settings: str | None, words: str) -> None:
    ended = started(settings, "--port", str(free_port()))

    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use(baseline: Fleet) -> None:
    settings = node_settings(baseline, VARIANTS["memory_only"].switches).encode()
    with listen() as taken:
        port = taken.getsockname()[1]
        ended = started(settings, "--port", str(port))

    assert ended.returncode == 2
    assert f"error: Cannot listen on [127.0.0.1:{port}]" in ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_postgres_that_refuses(baseline: Fleet, workers: str) -> None:
    switches = VARIANTS["memory_only"].switches
    dsn = "postgresql://nobody@127.0.0.1:1/nothing"
    settings = node_settings(baseline, switches, dsn=dsn).encode()

    ended = started(
        *(settings, "--port", str(free_port()), "--metrics-port", str(free_port())),
        *("--workers", workers),
    )

    assert ended.returncode not in (0, 2)
    assert "Cannot connect to Postgres [ConnectionRefusedError: " in ended.stderr
    assert "Traceback" not in ended.stderr


# In a process of its own, because it sets handlers of signals.
SUPERVISOR = """
import os, socket, sys
from harness.targets.workers import run_workers

with socket.create_server(("127.0.0.1", 0)) as listening:
    metrics = [os.dup(listening.fileno()) for _ in range(2)]
    sys.exit(run_workers(["sh", "-c", sys.argv[1], "sh"], listening.fileno(), metrics))
"""
# The one that makes the file waits for SIGTERM, the other ends by itself.
WORKER = """
if ( set -C; : > first ) 2>/dev/null; then
    trap 'exit 9' TERM; : > ready; while :; do sleep 0.01; done
fi
until [ -e ready ]; do sleep 0.01; done
exit 3
"""


def test_the_code_is_that_of_the_worker_that_ended_first(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUPERVISOR, WORKER]
    assert subprocess.run(command, cwd=tmp_path, check=False, timeout=60).returncode == 3


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("disposition", ["ignored", "blocked"])
def test_a_worker_hears_what_is_to_end_it(disposition: str, number: signal.Signals) -> None:
    command = (sys.executable, "-c", SUPERVISOR, f"kill -{number.value} $$; exit 3")
    with entered_with(disposition, *command) as supervisor:
        assert supervisor.wait(60) == -number % 256


def test_every_worker_knows_its_number(tmp_path: Path) -> None:
    """Each ends with its number once it has written it down and the other has too."""
    worker = f': > "at-${WORKER_VARIABLE}"; until [ -e at-0 ] && [ -e at-1 ]; do sleep 0.01; done'
    command = [sys.executable, "-c", SUPERVISOR, worker]
    subprocess.run(command, cwd=tmp_path, check=False, timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == {"at-0", "at-1"}
