"""Clocks of a fleet that runs already, seen from outside: statuses only, by address.

The harness makes keys, teams and users of its own through the fleet's management endpoints, asks
every address for them at a low rate, changes them, and deletes what it has made, whatever happens.
It sees no worker, no age of an entry and no Postgres: whether a change took place is what the call
answered, and an answer is either admitted or refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from harness.analysis.clock import freshness
from harness.archive.directory import (
    SAMPLES,
    kept_if_used,
    make_run_dir,
    point_latest,
    write_result,
)
from harness.authcache.words import ObjectKind
from harness.domain.changes import ACTIONS, ChangeEvent, Outcome
from harness.domain.population import VirtualKey, chat_request
from harness.domain.result import Generator, Ledger, Result
from harness.domain.samples import Sample, SampleWriter
from harness.domain.series import CHAT_ROUTE
from harness.domain.window import WindowResult
from harness.errors import InvalidRunError, UsageError
from harness.load.plan import Arrival, probe_plan
from harness.observe.evidence import Evidence
from harness.observe.snapshots import Snapshot
from harness.plan.plan import PlannedChange, RunPlan, make_plan
from harness.process.groups import to_the_end
from harness.process.waiting import gather_all
from harness.report.write import write_reports
from harness.scenario.schema import Scenario
from harness.scenario.sizing import probe_every_s
from harness.targets.base import Call, KeyTruth
from harness.targets.schema import management

NAME = "attached"
"""Of the fleet, where a run names its variants."""
MOST_PER_S = 20.0
"""Requests/s to all addresses together, however many keys are changed."""
TIMEOUT_S = 10.0
CAN = frozenset(
    {
        "key-block", "key-unblock", "key-delete", "key-regenerate", "key-new", "key-models",
        "key-blocked", "team-block", "team-unblock", "team-models", "team-delete", "user-models",
        "user-delete", "member-remove",
    }
)  # fmt: skip
"""Actions whose effect a status shows, on objects that calls alone can make."""
_ADMITTED, _REFUSED = 200, 403
_NO_SUCH_CALL = (404, 405)
_SERVER_ERROR = 500
_NOTHING = Snapshot((), None, None, {kind: {} for kind in ObjectKind})


@dataclass(frozen=True, slots=True)
class Attached:
    """A fleet that the harness did not start."""

    urls: tuple[str, ...]
    """Addresses of its replicas, without a trailing slash."""
    admin_key: str = field(repr=False)
    model: str
    """A model that it serves; each request is a chat completion of one token."""


def check_addresses(urls: Sequence[str], *, beyond_loopback: bool) -> tuple[str, ...]:
    """The addresses as they are used. Raises UsageError for one that must not be asked."""
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"[{url}] is not the address of a replica. Give it as http://HOST:PORT."
            )
        if not beyond_loopback and not _is_loopback(parts.hostname):
            raise UsageError(
                f"[{url}] is not on this machine. The clock sends up to {MOST_PER_S:g} requests/s "
                "and changes objects of its own there. Add --beyond-loopback if that fleet is "
                "yours to load."
            )
    if len({*urls}) < len(urls) or not urls:
        raise UsageError(f"The addresses [{', '.join(urls)}] must be one or more, each once.")
    return tuple(url.rstrip("/") for url in urls)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


async def attach(
    fleet: Attached,
    scenario: Scenario,
    runs_dir: Path,
    say: Callable[[str], None],
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> tuple[Result, Path]:
    """Time the changes of a scenario on a fleet, and write a run directory.

    Args:
        fleet: where to.
        scenario: of `harness.analysis.studies.clock`, with only actions of `CAN`.
        runs_dir: where the run directory is created.
        say: prints a line.
        transport: answers in place of the network.

    Raises:
        InvalidRunError: the fleet does not answer, or its objects could not be made.
    """
    started = datetime.now(UTC)
    begun = time.monotonic()
    plan = _own(make_plan(scenario, (), stack=NAME))
    run_dir = make_run_dir(runs_dir, scenario.name, started)
    limits = httpx.Limits(keepalive_expiry=None)
    with kept_if_used(run_dir):
        async with httpx.AsyncClient(
            timeout=TIMEOUT_S, limits=limits, trust_env=False, transport=transport
        ) as http:
            clock = _Clock(fleet, plan, http, run_dir / SAMPLES)
            try:
                for batch in scenario.batches():
                    say(f"window {batch} of {len(scenario.batches())}: {NAME}, changes")
                    await clock.window(batch)
            except httpx.HTTPError as error:
                raise InvalidRunError(
                    f"The fleet does not answer: {type(error).__name__}: {error}. Check its "
                    "addresses, then run again."
                ) from error
            finally:
                say("deleting what was made")
                for left in await to_the_end(clock.remove()):
                    say(f"not deleted: {left}. Delete it by hand.")
    result = _result(plan, clock, run_dir, started, time.monotonic() - begun)
    write_result(run_dir, result)
    write_reports(result, run_dir)
    point_latest(runs_dir, run_dir, say)
    return result, run_dir


def _own(plan: RunPlan) -> RunPlan:
    """The plan with keys and owners that no other run has, and that tell where they come from."""
    prefix = f"authcache-clock-{secrets.token_hex(4)}"

    def own(key: VirtualKey, number: int) -> VirtualKey:
        shared = key.user_id is not None and key.user_id == key.team_id
        team = key.team_id and f"{prefix}-team-{number}"
        user = team if shared else key.user_id and f"{prefix}-user-{number}"
        return replace(
            key,
            secret=f"sk-{prefix}-{secrets.token_hex(16)}",
            alias=f"{prefix}-key-{number}",
            team_id=team,
            user_id=user,
        )

    return replace(plan, changing=tuple(own(key, n) for n, key in enumerate(plan.changing, 1)))


class _Clock:
    """The windows of one fleet, and what was made for them."""

    def __init__(
        self, fleet: Attached, plan: RunPlan, http: httpx.AsyncClient, samples_dir: Path
    ) -> None:
        self._fleet = fleet
        self._plan = plan
        self._http = http
        self._samples_dir = samples_dir
        self._made: list[tuple[str, str, str]] = []
        """Path, field and name by which each object is deleted, in order of making."""
        self.windows: list[Evidence] = []

    async def window(self, batch: int) -> None:
        """Make the objects of a batch, ask for them, change them, and keep the evidence."""
        planned = self._plan.planned_changes(batch)
        usable = {}
        events: list[ChangeEvent] = []
        for change in planned:
            problem = await self._prepare(change)
            if problem:
                events.append(_event(change, 0.0, 0.0, "not_there", detail=problem))
            else:
                usable[change.number] = change
        keys = [(c.key.index, c.key.scope) for c in usable.values()]
        secret = {c.key.index: c.key.secret for c in usable.values()}
        hosts, duration_s = self._fleet.urls, self._plan.changes_s
        window, ttl_s = self._plan.scenario.changes, self._plan.ttl_s
        every_s = probe_every_s(window, ttl_s, len(keys) * len(hosts), MOST_PER_S)
        arrivals = (
            probe_plan(
                keys,
                every_s=every_s,
                duration_s=duration_s,
                replicas=len(hosts),
                workers=1,
                seed=batch,
            )
            if keys
            else []
        )
        name = f"{batch:02d}-changes-{NAME}"
        start = time.monotonic()
        asked = [self._ask(name, arrival, secret[arrival.key], start) for arrival in arrivals]
        changed = [self._change(change, start) for change in usable.values()]
        samples, made = await gather_all(gather_all(*asked), gather_all(*changed))
        events += made
        with SampleWriter(self._samples_dir / f"{name}.csv.gz") as writer:
            for sample in sorted(samples, key=lambda one: one.done_s):
                writer.write(sample)
        self.windows.append(
            _evidence(name, self._plan, sorted(events, key=lambda e: e.number), samples, duration_s)
        )

    async def _prepare(self, change: PlannedChange) -> str:
        """Make the objects of a change as they are before it; the answer where that fails."""
        key, action = change.key, change.action
        calls: list[Call] = []
        models = [self._fleet.model, f"only-for-{key.alias}"]
        if key.user_id:
            calls.append(_post("/user/new", user_id=key.user_id, auto_create_key=False))
        if key.team_id:
            calls.append(_post("/team/new", team_id=key.team_id, team_alias=key.team_id))
        if key.team_id and key.user_id:
            member = {"role": "user", "user_id": key.user_id}
            calls.append(_post("/team/member_add", team_id=key.team_id, member=member))
        if action != "key-new":
            body = {"key": key.secret, "key_alias": key.alias, "models": models}
            owners = {"user_id": key.user_id, "team_id": key.team_id}
            body |= {name: owner for name, owner in owners.items() if owner}
            calls.append(_post("/key/generate", **body))
        if action in ("key-unblock", "team-unblock"):
            calls.append(management.call(action.replace("unblock", "block"), key, change.number))
        for call in calls:
            status, text = await self._send(call, self._fleet.urls[0])
            if status // 100 == 2:  # noqa: PLR2004 - 2xx
                continue
            if status not in _NO_SUCH_CALL:
                return f"{call.path} answered {status}: {self._hide(text)}"
            if call.path != "/user/new" or ACTIONS[action].object == "user":
                # A key may name a user that was not made, where the fleet has no such call.
                return f"{call.path} answered {status}"
        return ""

    async def _send(self, call: Call, url: str) -> tuple[int, str]:
        """Status and text of the answer to a management call; what it makes will be deleted.

        A call under way when the run is stopped is waited for: the fleet may carry it out all the
        same, and an object must not be made after its deletion.
        """
        return await to_the_end(self._sent(call, url))

    async def _sent(self, call: Call, url: str) -> tuple[int, str]:
        made = _deletions(call.path, call.body)
        # Before it is sent, since the answer may be lost.
        self._made += made
        reply = await self._http.request(
            call.method,
            url + call.path,
            json=dict(call.body),
            headers={"Authorization": f"Bearer {self._fleet.admin_key}"},
        )
        if reply.is_client_error:
            for one in made:
                self._made.remove(one)
        elif call.path == "/key/regenerate" and reply.is_success:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._made += _deletions("/key/generate", {"key": reply.json()["key"]})
        return reply.status_code, reply.text

    async def _change(self, change: PlannedChange, start: float) -> ChangeEvent:
        await asyncio.sleep(start + change.at_s - time.monotonic())
        call = management.call(change.action, change.key, change.number)
        if change.action == "key-new":
            call = replace(call, body={**call.body, "models": [self._fleet.model]})
        urls = self._fleet.urls
        sent = time.monotonic() - start
        status, text = await self._send(call, urls[change.handler % len(urls)])
        answered = time.monotonic() - start
        outcome: Outcome = "done" if status // 100 == 2 else "refused"  # noqa: PLR2004 - 2xx
        detail = "" if outcome == "done" else self._hide(text)
        if status in _NO_SUCH_CALL:
            outcome, detail = "not_there", f"{call.path} answered {status}"
        event = _event(change, sent, answered, outcome, detail=detail)
        return replace(event, handler=change.handler % len(urls), status=status)

    async def _ask(self, window: str, arrival: Arrival, secret: str, start: float) -> Sample:
        at_s = arrival.intended_s or 0.0
        await asyncio.sleep(start + at_s - time.monotonic())
        sent_s, status, error = time.monotonic() - start, 0, ""
        try:
            reply = await self._http.post(
                self._fleet.urls[arrival.replica] + CHAT_ROUTE,
                json=chat_request(self._fleet.model, "hello", 1),
                headers={"Authorization": f"Bearer {secret}"},
            )
            if reply.status_code >= _SERVER_ERROR:
                error = "other"
            else:
                status = _ADMITTED if reply.is_success else _REFUSED
        except httpx.HTTPError:
            error = "other"
        done_s = time.monotonic() - start
        return Sample(
            window, arrival.scope, arrival.key, arrival.replica, at_s, sent_s, done_s, status,
            error, 0, "",
        )  # fmt: skip

    def _hide(self, text: str) -> str:
        for one in (self._fleet.admin_key, *(key.secret for key in self._plan.changing)):
            text = text.replace(one, "…")
        return text[:300]

    async def remove(self) -> list[str]:
        """Delete all that was made, the newest first; what may be left, in words."""
        left = []
        for path, name, one in reversed(self._made):
            shown = "a key" if name == "keys" else one
            try:
                status, _ = await self._send(_post(path, **{name: [one]}), self._fleet.urls[0])
            except httpx.HTTPError as error:
                left.append(f"{shown}: {type(error).__name__}")
                continue
            # The change may have deleted it: then it is not found, in one way or another.
            if status >= _SERVER_ERROR or status in (401, 403, 405, 429):
                left.append(f"{shown}: {path} answered {status}")
        return left


def _deletions(path: str, body: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Path, field and name by which to delete what a call makes; empty if it makes nothing."""
    kept = {
        "/user/new": ("/user/delete", "user_ids", "user_id"),
        "/team/new": ("/team/delete", "team_ids", "team_id"),
        "/key/generate": ("/key/delete", "keys", "key"),
    }
    if path not in kept:
        return []
    delete, name, of = kept[path]
    return [(delete, name, str(body[of]))]


def _post(path: str, **body: Any) -> Call:
    return Call("POST", path, body)


def _event(
    change: PlannedChange, sent_s: float, answered_s: float, outcome: Outcome, *, detail: str = ""
) -> ChangeEvent:
    return ChangeEvent(
        number=change.number, action=change.action, scope=change.key.scope, way="api",
        key=change.key.index, handler=None, worker="", sent_s=sent_s, answered_s=answered_s,
        status=0, outcome=outcome, detail=detail,
    )  # fmt: skip


def _evidence(
    name: str,
    plan: RunPlan,
    events: Sequence[ChangeEvent],
    samples: Sequence[Sample],
    duration_s: float,
) -> Evidence:
    """A window as `harness.analysis.clock` reads it: two versions of each key, by status alone."""
    truths = {}
    for event in events:
        refuse = ACTIONS[event.action].effect == "refuse"
        old, new = (_ADMITTED, _REFUSED) if refuse else (_REFUSED, _ADMITTED)
        truths[event.key] = KeyTruth(
            {}, new, since=(event.sent_s, event.answered_s), earlier=(KeyTruth({}, old),)
        )
    answered = [sample for sample in samples if not sample.error]
    counted = WindowResult(
        window=name,
        planned=len(samples),
        sent=len(samples),
        answered=len(answered),
        unanswered={"other": len(samples) - len(answered)},
        late=0,
        delay_ms_max=max((s.sent_s - s.intended_s for s in samples), default=0.0) * 1000,
        statuses={},
        cost_micro=0,
        served=[],
        replicas=[],
        elapsed_s=duration_s,
        cpu_s=0.0,
    )
    return Evidence(
        name=name,
        variant=NAME,
        phase="changes",
        round=0,
        started_s=0.0,
        duration_s=duration_s,
        generator=counted,
        before=_NOTHING,
        after=_NOTHING,
        truths=truths,
        has_redis=True,
        promise_s=plan.promise_s(redis=True),
        changes=tuple(events),
    )


def _result(
    plan: RunPlan, clock: _Clock, run_dir: Path, started: datetime, elapsed_s: float
) -> Result:
    found = freshness(
        clock.windows,
        plan.all_keys,
        run_dir / SAMPLES,
        ttl_s=plan.ttl_s,
        alone=plan.scenario.replicas == 1,
    )
    counted = [window.generator for window in clock.windows]
    unanswered = sum(one.unanswered["other"] for one in counted)
    return Result(
        run_id=run_dir.name,
        started_at=started.isoformat(timespec="seconds"),
        elapsed_s=round(elapsed_s, 1),
        scenario=plan.scenario.name,
        title=plan.scenario.title,
        premises=[],
        stack=NAME,
        replicas=plan.scenario.replicas,
        workers=1,
        ttl_s=plan.ttl_s,
        time_scale=1.0,
        rounds=1,
        seed=plan.scenario.seed,
        complete=True,
        verdict="observed",
        exit_code=0,
        reasons=[],
        sizing=[],
        variants={},
        freshness={NAME: found},
        ledger=Ledger(balanced=None, equations=[]),
        generator=Generator(
            planned=sum(one.planned for one in counted),
            sent=sum(one.sent for one in counted),
            answered=sum(one.answered for one in counted),
            unanswered={"other": unanswered} if unanswered else {},
            late=0,
            max_delay_ms=max(one.delay_ms_max for one in counted),
            cpu_share=0.0,
            replica_share_min=1.0,
            replica_share_max=1.0,
        ),
        expectations=[],
        observed=[NAME],
        notes=[
            _OUTSIDE,
            f"The TTL of {plan.ttl_s:g} s is what the caller said; so is the promise.",
        ],
    )


_OUTSIDE = (
    "The fleet was measured from outside, by address and status: a clock is of an address, which "
    "may have several workers behind it. How an old answer ended, what it cost, and changes that "
    "no status shows are not checked."
)
