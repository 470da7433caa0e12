"""Every action by a real release's own management endpoints, on the Prisma stand-in.

``RELEASE_OF_CHANGES`` names another release.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from harness.domain.changes import ACTIONS
from harness.domain.population import MOCK_MODEL, make_changes
from harness.domain.served import WORKER_HEADER
from harness.observe.snapshots import watch
from harness.process.loopback import local_http
from harness.stack.base import Fleet, FleetSpec
from harness.targets.base import KeyTruth
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.target import LiteLLMTarget
from harness.targets.settings import RunSettings
from tests.silence import Silence
from tests.targets.world import check_effect, new_seed, running_stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RELEASE = os.environ.get("RELEASE_OF_CHANGES", "litellm==1.94.0")
QUICK = ("key-block", "team-models", "user-limits", "member-budget")
"""An action of each object; `make test-long` runs all."""
PERIODIC = (
    *("LiteLLM_Config", "LiteLLM_MCPServerTable", "LiteLLM_SearchToolsTable"),
    *("SET LOCAL statement_timeout", "WHERE NOT retired"),
)
"""What statements of jobs have in their text, which a release sends in its own time."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One replica of one worker; its stack's folder is the parent of its logs."""
    release = parse_release(RELEASE)
    with running_stack(tmp_path_factory.mktemp("changes")) as (stack, run):
        target = LiteLLMTarget(release, run(ensure_environment(release, Silence())))
        settings = RunSettings(ttl_s=60.0)
        yield run(stack.start(FleetSpec(RELEASE, target, 1, 1, settings)))


@pytest.mark.parametrize(
    "action",
    [pytest.param(action, marks=[pytest.mark.long] * (action not in QUICK)) for action in ACTIONS],
)
async def test_a_management_call_has_its_effect(fleet: Fleet, action: str) -> None:
    """Answered 2xx, held by Postgres, counted outside the load, and at rest again after it."""
    target = fleet.spec.target
    scope = ACTIONS[action].scopes[-1]
    keys = make_changes([(action, scope)], first=0, seed=new_seed(), model=MOCK_MODEL)
    call = target.call(action, keys[0], 1)
    if call is None:
        assert action == "key-regenerate"
        return

    async def truth() -> KeyTruth:
        found = await target.database.truth(postgres, keys, planted_null_user=False)
        return found[keys[0].index]

    postgres = await asyncpg.connect(fleet.dsn)
    try:
        await target.database.seed(postgres, keys)
        async with (
            watch(fleet) as observer,
            local_http(base_url=fleet.replica_urls[0], timeout=60.0) as http,
        ):
            before, start = await truth(), await observer.at_rest(60.0)
            answer = await http.request(
                call.method,
                call.path,
                json=dict(call.body),
                headers={"authorization": f"Bearer {fleet.spec.master_key}"},
            )
            end = await observer.at_rest(60.0)
            check_effect(action, before, await truth())
    finally:
        await postgres.close()
    assert answer.is_success, answer.text
    assert answer.headers[WORKER_HEADER] == "0.0"
    counted = end.total.since(start.total)
    requests = counted.by("http_requests_total", "route", "key_scope")
    assert {labels: n for labels, n in requests.items() if n} == {("other", "unknown"): 1}
    assert counted.sum("authcache_lookups_total") == counted.sum(
        "authcache_lookups_total", key_scope="unknown"
    )
    assert start.statements is not None
    assert end.statements is not None
    sent = end.statements.since(start.statements)
    reads = sum(count.calls for count in sent.reads.values())
    assert counted.sum("authcache_source_reads_total") == reads
    unnamed = [text for text in sent.unnamed if not any(table in text for table in PERIODIC)]
    assert unnamed == []


async def test_without_the_master_key_nothing_is_changed(fleet: Fleet) -> None:
    async with local_http(base_url=fleet.replica_urls[0]) as http:
        for headers in ({}, {"authorization": "Bearer sk-another"}):
            answer = await http.post("/key/block", json={"key": "sk-x"}, headers=headers)
            assert answer.status_code in (401, 403), answer.text


def test_the_master_key_is_in_no_log_and_no_command_line(fleet: Fleet) -> None:
    key = fleet.spec.master_key.encode()
    logs = [path for path in fleet.log_files[0].parent.rglob("*") if path.is_file()]
    assert set(fleet.log_files) <= set(logs)
    assert [path for path in logs if key in path.read_bytes()] == []
    # The environment of the replica, which other users cannot read, has it.
    environments = [
        child
        for child in psutil.Process().children(recursive=True)
        if key in Path(f"/proc/{child.pid}/environ").read_bytes()
    ]
    assert environments
    for child in psutil.Process().children(recursive=True):
        assert key.decode() not in " ".join(child.cmdline())
