"""The phases of a rollout: replicas get successors under load, a window, a check of each variant.

A check asks what a window of chats does not: management calls, and whether chats leave their rows
of spend. Chat alone stays green where the tables lack a column.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import asyncpg
import httpx

from harness.archive.directory import KEYS
from harness.authcache.words import ObjectKind
from harness.domain.population import (
    CHAT_BODY,
    MOCK_MODEL,
    VirtualKey,
    make_changes,
    make_population,
)
from harness.domain.result import CheckResult, Replacement, RolloutPhase
from harness.domain.series import CHAT_ROUTE
from harness.domain.window import WindowCommand, WindowResult
from harness.errors import InvalidRunError, SetupError
from harness.experiment.measure import Windows
from harness.observe.evidence import Evidence
from harness.observe.snapshots import Observer
from harness.plan.commands import commands
from harness.plan.plan import RolloutPlan, Slot
from harness.process.loopback import local_http
from harness.process.waiting import wait_until
from harness.targets.base import Call, Target

STRETCH_S = 2.0
"""Length of each stretch of load while a replica is replaced; they follow one another."""
CHATS = 10
"""Chats of a check."""
ACTIONS = ("key-new", "key-limits", "key-block", "key-delete", "team-limits", "user-limits")
"""Management calls of a check, in order; each changes a key of its own, or its owner."""
SPEND_S = 10.0
"""How long a check waits for its rows of spend."""
_CALL_S = 30.0
_DETAIL = 200
_SECRET = re.compile(r"sk-[\w-]{8,}")
_SPEND_LOGS = '"LiteLLM_SpendLogs"'


@dataclass(frozen=True, slots=True)
class Rolling:
    """Measures the phases of a rollout.

    Args:
        windows: measures a window.
        rollout: of the plan.
        phases: where each phase is kept, by its name.
    """

    windows: Windows
    rollout: RolloutPlan
    phases: dict[str, RolloutPhase]

    async def measure(self, slot: Slot) -> Evidence:
        """Bring the fleet into a phase, measure its window, and check its variants.

        Raises:
            InvalidRunError: a successor did not come up, or the window could not be measured.
        """
        observer = self.windows.observers[slot.variant]
        arm = next(arm for arm in self.windows.plan.arms if arm.name == slot.variant)
        replaced = await self._turn(observer, arm.target, slot)
        evidence = await self.windows.measure(slot)
        self.windows.progress.phase(f"{slot.variant}: management calls and spend")
        checks = await self._checks(observer, arm.target, slot)
        self.phases[slot.variant] = RolloutPhase(
            replicas=list(arm.target.members), replaced=replaced, checks=checks
        )
        return evidence

    async def _turn(self, observer: Observer, wanted: Target, slot: Slot) -> list[Replacement]:
        """Replace what has to run something else, one replica after the other, under load."""
        fleet = observer.fleet
        running = fleet.spec.target.members
        replaced = []
        for index, name in enumerate(wanted.members):
            if name != running[index]:
                self.windows.progress.phase(f"{slot.variant}: replica {index} becomes {name}")
                replaced.append(await self._replace(observer, index, wanted, slot))
                observer.read_anew(index)
        fleet.spec = replace(fleet.spec, target=wanted)
        return replaced

    async def _replace(
        self, observer: Observer, index: int, wanted: Target, slot: Slot
    ) -> Replacement:
        fleet, host = observer.fleet, self.windows.stack.host
        assert host is not None, "a rollout runs on a stack of processes"
        hosts = [
            url
            for number, url in enumerate(fleet.replica_urls)
            if number != index or not self.rollout.drained
        ]
        took_s = 0.0

        async def turn() -> None:
            nonlocal took_s
            begun = time.monotonic()
            await host.replace_replica(fleet, index, target=wanted)
            took_s = time.monotonic() - begun

        turning = asyncio.create_task(turn())
        results: list[WindowResult] = []
        try:
            done = False
            while not done:
                # The last stretch begins when the successor is ready.
                done = turning.done()
                command = self._stretch(slot, hosts, index, len(results))
                results.append(await self.windows.driver.window(command))
            await turning
        except SetupError as error:
            raise InvalidRunError(
                f"Replica [{index}] did not come up as [{wanted.members[index]}]. {error}"
            ) from error
        finally:
            turning.cancel()
            await asyncio.gather(turning, return_exceptions=True)
        unanswered: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        for result in results:
            unanswered.update(result.unanswered)
            for by_status in result.statuses.values():
                statuses.update(by_status)
        return Replacement(
            replica=index,
            variant=wanted.members[index],
            seconds=round(took_s, 3),
            requests=sum(result.sent for result in results),
            unanswered=dict(unanswered),
            statuses=dict(sorted(statuses.items())),
        )

    def _stretch(self, slot: Slot, hosts: Sequence[str], index: int, number: int) -> WindowCommand:
        run_dir = self.windows.run_dir
        window = commands(self.windows.plan, slot, hosts, run_dir / KEYS, run_dir).window
        changes = {
            "window": f"{slot.name}-replica-{index}-{number}",
            "duration_s": STRETCH_S,
            "samples_file": None,
            # Of its own, as that of no window.
            "seed": window.seed + 5 + 10_000_019 * (1 + number + 100 * index),
        }
        return window.model_copy(update=changes)

    async def _checks(
        self, observer: Observer, target: Target, slot: Slot
    ) -> dict[str, CheckResult]:
        """A check of the last replica of each variant, which was replaced last."""
        replicas = {name: index for index, name in enumerate(target.members)}
        seed = self.windows.plan.scenario.seed * 1_000_003 + slot.number * 1_000
        async with local_http(timeout=_CALL_S) as http:
            return {
                name: await self._check(http, observer, index, seed + index)
                for name, index in replicas.items()
            }

    async def _check(
        self, http: httpx.AsyncClient, observer: Observer, index: int, seed: int
    ) -> CheckResult:
        key, changed = _keys(seed)
        fleet = observer.fleet
        spec, url = fleet.spec, fleet.replica_urls[index]
        await spec.target.database.seed(observer.postgres, [key, *changed])
        chat = Call("POST", CHAT_ROUTE, json.loads(CHAT_BODY))
        before = await observer.at_rest()
        chats = Counter([(await _answer(http, url, chat, key.secret))[0] for _ in range(CHATS)])
        calls: dict[str, str] = {}
        refused: dict[str, str] = {}
        for number, (action, one) in enumerate(zip(ACTIONS, changed, strict=True), start=1):
            call = spec.target.member(index).call(action, one, number)
            if call is not None:
                calls[action], text = await _answer(http, url, call, spec.master_key)
                if not calls[action].startswith("2"):
                    refused[action] = text
        admitted = sum(n for status, n in chats.items() if status.startswith("2"))
        after = await observer.at_rest(timeout_s=_CALL_S)
        row = key.token
        gained = after.spend[ObjectKind.KEY].get(row, 0) - before.spend[ObjectKind.KEY].get(row, 0)
        return CheckResult(
            replica=index,
            chats=dict(sorted(chats.items())),
            calls=calls,
            refused=refused,
            spend_logs=await _spend_logs(observer.postgres, row, admitted),
            spend_micro=gained,
            spend_due_micro=admitted * spec.settings.cost_micro,
        )


def _keys(seed: int) -> tuple[VirtualKey, list[VirtualKey]]:
    """A key to chat with, and one for each of `ACTIONS`, the same for a seed."""
    (key,) = make_population({"member": 1}, {}, seed=seed, model=MOCK_MODEL)
    each = [(action, "member") for action in ACTIONS]
    return key, make_changes(each, first=1, seed=seed, model=MOCK_MODEL)


async def _answer(http: httpx.AsyncClient, url: str, call: Call, key: str) -> tuple[str, str]:
    """Status and text of one answer; the kind of the error where there is none."""
    head = {"authorization": f"Bearer {key}"}
    try:
        reply = await http.request(call.method, url + call.path, json=call.body, headers=head)
    except httpx.HTTPError as error:
        return type(error).__name__, str(error)
    return str(reply.status_code), _SECRET.sub("sk-…", reply.text)[:_DETAIL]


async def _spend_logs(postgres: asyncpg.Connection, token: str, due: int) -> int | None:
    """Rows of spend logs of a key, once there are as many as are due; None without a table."""
    if await postgres.fetchval("SELECT to_regclass($1)", _SPEND_LOGS) is None:
        return None
    found: int = 0

    async def written() -> bool:
        nonlocal found
        statement = f"SELECT count(*) FROM {_SPEND_LOGS} WHERE api_key = $1"  # noqa: S608 - a constant
        found = await postgres.fetchval(statement, token)
        return bool(found >= due)

    await wait_until(written, SPEND_S)
    return found
