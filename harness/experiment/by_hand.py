"""Changes that a user makes on fleets that stay up, and which workers still serve the old version.

Each change gets a key of its own in every fleet. The harness asks every worker for it, makes the
change, and goes on asking: what each worker answers last, held against what Postgres holds, is what
the web UI's tab shows (`harness.ui`).

One HTTP port on loopback, under a path that only the web UI is given:

``GET``
    JSON, as `LiveChanges.shown` has it.
``POST``
    `Wanted` as JSON: makes a change in every fleet. 202 as soon as it has begun, 400 with a
    sentence for one that cannot be made, 409 while another is being made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import asyncpg
import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.analysis.clock import side
from harness.authcache.words import ObjectKind
from harness.domain.changes import ACTIONS, ChangeEvent, Way, check_action
from harness.domain.population import CHAT_BODY, MOCK_MODEL, VirtualKey, make_changes
from harness.domain.samples import Sample
from harness.domain.series import CHAT_ROUTE
from harness.domain.served import SERVED_HEADER, WORKER_HEADER
from harness.errors import HarnessError, UsageError, explain
from harness.experiment.changes import ready_to_change
from harness.exporter.serving import serve
from harness.observe.snapshots import Observer, watch
from harness.plan.plan import PlannedChange, RunPlan
from harness.process.loopback import local_http
from harness.process.waiting import gather_all, wait_until
from harness.stack.base import Fleet
from harness.targets.base import KeyTruth

State = Literal["fresh", "gone", "stale", "not asked", "no answer"]
"""What a worker answered last: ``fresh`` the new version, admitted; ``gone`` refuses as the new
version does; ``stale`` the old version; ``not asked`` nothing since the change."""

EVERY_S = 0.25
"""Between two requests for a changed key to one worker."""
FOLLOWED_PROMISES = 5.0
"""A change is followed for so many promises: some variants never forget what is asked for."""
_TIMEOUT_S = 2.0
_WARM_S = 10.0
"""How long to wait until every worker has answered for a key before it is changed."""
_MOST_BODY = 4096
_TEXT = b"text/plain; charset=utf-8"
_JSON = b"application/json"

Message = MutableMapping[str, Any]


class Wanted(BaseModel):
    """A change that a user asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str
    scope: str
    way: Way = "api"
    handler: int = Field(0, ge=0)
    """Replica that takes the call; without meaning for ``sql``."""


@dataclass(slots=True)
class WorkerView:
    """What one worker answered after a change."""

    state: State = "not asked"
    old_s: float | None = None
    """From the answer to the change to the start of the last request that got an old answer."""


@dataclass(slots=True)
class Followed:
    """One change of one fleet, and its workers since."""

    fleet: str
    key: VirtualKey
    workers: tuple[str, ...]
    """Their names, as `harness.domain.served.WORKER_HEADER`."""
    promise_s: float
    views: dict[str, WorkerView] = field(default_factory=dict)
    warmed: set[str] = field(default_factory=set)
    """Workers that have answered for the key."""
    start: float = 0.0
    """On the monotonic clock: times of the event count from here."""
    event: ChangeEvent | None = None
    """None until the change was made."""
    truth: KeyTruth | None = None

    def changed(self, event: ChangeEvent, truth: KeyTruth, start: float) -> None:
        """The change was made: from now on answers are judged."""
        self.event, self.truth, self.start = event, truth, start
        self.views = {name: WorkerView() for name in self.workers}

    def answered(self, sample: Sample) -> None:
        """Judge an answer; its times are on the monotonic clock.

        One that was asked for before the change was answered tells nothing of the worker's delay.
        """
        self.warmed.add(sample.worker)
        if self.event is None or self.truth is None:
            return
        age_s = sample.sent_s - self.start - self.event.answered_s
        found = side(sample, self.truth.earlier, self.truth)
        if age_s < 0 or not found:
            return
        view = self.views.setdefault(sample.worker, WorkerView())
        if found == "old":
            view.state = "stale"
            view.old_s = max(age_s, view.old_s or 0.0)
        else:
            view.state = "gone" if self.truth.refusal else "fresh"

    def unanswered(self, replica: int) -> None:
        """A replica gave no answer: which of its workers did not is not known."""
        for name, view in self.views.items():
            if name.partition(".")[0] == str(replica):
                view.state = "no answer"

    def ends_at(self) -> float:
        """Until when it is followed, on the monotonic clock."""
        answered_s = 0.0 if self.event is None else self.event.answered_s
        return self.start + answered_s + FOLLOWED_PROMISES * self.promise_s

    def shown(self, now: float) -> dict[str, Any]:
        """For the page; without a key, a user or a team."""
        event = self.event
        assert event is not None, "it is shown once it was made"
        action = ACTIONS[event.action]
        return {
            "number": event.number,
            "variant": self.fleet,
            "action": event.action,
            "summary": action.summary,
            "object": action.object,
            "scope": event.scope,
            "way": event.way,
            "handler": event.handler,
            "outcome": event.outcome,
            "status": event.status,
            "detail": event.detail,
            "ago_s": round(max(0.0, now - self.start - event.answered_s), 1),
            "promise_s": round(self.promise_s, 1),
            "followed": bool(self.views) and now < self.ends_at(),
            "workers": {
                name: {
                    "state": view.state,
                    "old_s": None if view.old_s is None else round(view.old_s, 1),
                    "beyond": view.old_s is not None and view.old_s > self.promise_s,
                }
                for name, view in self.views.items()
            },
        }


class LiveChanges:
    """Makes changes and follows them. Make it with `live_changes`.

    Args:
        plan: of the fleets.
        observers: of the fleets, in their order; their connections to Postgres belong to it.
        http: asks the replicas.
        path: under which it answers.
    """

    def __init__(
        self, plan: RunPlan, observers: Sequence[Observer], http: httpx.AsyncClient, path: str
    ) -> None:
        self._plan = plan
        self._observers = observers
        self._http = http
        self._path = path
        self._number = 0
        self._making: asyncio.Task[None] | None = None
        self._problem = ""
        self._made: dict[tuple[str, str], Followed] = {}
        """The last change by fleet and object."""
        self._asking: dict[tuple[str, str], list[asyncio.Task[None]]] = {}

    async def close(self) -> None:
        """Stop making and following."""
        tasks = [task for asking in self._asking.values() for task in asking]
        if self._making is not None:
            tasks.append(self._making)
        await _cancelled(tasks)

    def shown(self) -> dict[str, Any]:
        """What there is to choose, and the last change of each object with its workers."""
        now = time.monotonic()
        return {
            "objects": [kind.value for kind in ObjectKind],
            "actions": {
                name: {"summary": action.summary, "scopes": action.scopes}
                for name, action in ACTIONS.items()
            },
            "handlers": self._handlers(),
            "fleets": [
                {"variant": one.fleet.name, "workers": _workers(one)} for one in self._observers
            ],
            "making": self._making is not None and not self._making.done(),
            "problem": self._problem,
            "made": [
                one.shown(now)
                for observer in self._observers
                for one in self._made.values()
                if one.fleet == observer.fleet.name
            ],
        }

    def _handlers(self) -> int:
        return min(len(one.fleet.replica_urls) for one in self._observers)

    async def make(self, wanted: Wanted) -> None:
        """Make a change in every fleet, on a key of its own, and begin to follow it.

        What cannot be made becomes the problem that is shown.
        """
        self._problem = ""
        self._number += 1
        number = self._number
        [key] = make_changes(
            [(wanted.action, wanted.scope)],
            first=len(self._plan.all_keys) + number - 1,
            # Not the seed of the plan's own keys: ids come from it.
            seed=self._plan.scenario.seed + number,
            model=MOCK_MODEL,
        )
        change = PlannedChange(number, wanted.action, wanted.way, key, wanted.handler, 0.0)
        try:
            await gather_all(*(self._make(observer, change) for observer in self._observers))
        except HarnessError as error:
            self._problem = str(error)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self._problem = f"The change could not be made: {type(error).__name__}: {error}"

    async def _make(self, observer: Observer, change: PlannedChange) -> None:
        fleet = observer.fleet
        await fleet.spec.target.database.seed(observer.postgres, [change.key])
        promise_s = self._plan.promise_s(redis=fleet.redis_url is not None)
        followed = Followed(fleet.name, change.key, tuple(_workers(observer)), promise_s)
        asking = [
            asyncio.create_task(self._ask(followed, replica, url, fleet.spec.workers))
            for replica, url in enumerate(fleet.replica_urls)
            for _ in range(fleet.spec.workers)
        ]
        place = fleet.name, ACTIONS[change.action].object
        try:
            async with ready_to_change(observer, [change]) as changes:
                await wait_until(lambda: followed.warmed.issuperset(followed.workers), _WARM_S)
                start = time.monotonic()
                made = await changes.make(start)
            [event] = made.events
            followed.changed(event, made.truths[change.key.index], start)
            if event.outcome in ("done", "committed"):
                former = self._asking.get(place, [])
                self._asking[place], asking = asking, former
            else:
                followed.views = {}
            self._made[place] = followed
        finally:
            await _cancelled(asking)

    async def _ask(self, followed: Followed, replica: int, url: str, workers: int) -> None:
        """Ask a replica for a changed key again and again."""
        headers = {"Authorization": f"Bearer {followed.key.secret}"}
        headers["Content-Type"] = "application/json"
        if workers > 1:
            # A connection belongs to one worker; a new one may reach another.
            headers["Connection"] = "close"
        while followed.event is None or time.monotonic() < followed.ends_at():
            sent = time.monotonic()
            try:
                reply = await self._http.post(url + CHAT_ROUTE, content=CHAT_BODY, headers=headers)
            except httpx.HTTPError:
                followed.unanswered(replica)
            else:
                followed.answered(_sample(followed.key, replica, sent, reply))
            await asyncio.sleep(EVERY_S)

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            return
        status, kind, body = 404, _TEXT, b"There is no such page."
        if secrets.compare_digest(scope["path"].encode(), self._path.encode()):
            if scope["method"] == "GET":
                status, kind, body = 200, _JSON, json.dumps(self.shown()).encode()
            elif scope["method"] == "POST":
                status, text = self._begin(await _body(receive))
                body = text.encode()
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]}
        )
        await send({"type": "http.response.body", "body": body})

    def _begin(self, body: bytes) -> tuple[int, str]:
        if self._making is not None and not self._making.done():
            return 409, "A change is being made. Wait until it is, then make the next one."
        try:
            wanted = Wanted.model_validate_json(body)
            check_action(wanted.action, wanted.scope)
        except ValidationError as error:
            return 400, f"This change cannot be made: {explain(error)}"
        except UsageError as error:
            return 400, f"This change cannot be made: {error}."
        if wanted.handler >= self._handlers():
            return 400, (
                f"This change cannot be made: handler is [{wanted.handler}], and replicas are "
                f"numbered from 0 to {self._handlers() - 1}."
            )
        self._making = asyncio.create_task(self.make(wanted))
        return 202, ""


@contextlib.asynccontextmanager
async def live_changes(plan: RunPlan, fleets: Sequence[Fleet]) -> AsyncIterator[str]:
    """Answer for these fleets until the block ends; yields the URL.

    Raises:
        SetupError: there is no free port.
    """
    async with contextlib.AsyncExitStack() as stack:
        observers = [await stack.enter_async_context(watch(fleet)) for fleet in fleets]
        limits = httpx.Limits(max_connections=None)
        http = await stack.enter_async_context(local_http(timeout=_TIMEOUT_S, limits=limits))
        path = f"/{secrets.token_urlsafe(16)}"
        changes = LiveChanges(plan, observers, http, path)
        yield await stack.enter_async_context(serve(changes)) + path


def _workers(observer: Observer) -> list[str]:
    return [f"{worker.replica}.{worker.worker}" for worker in observer.fleet.workers]


def _sample(key: VirtualKey, replica: int, sent: float, reply: httpx.Response) -> Sample:
    return Sample(
        window="",
        scope=key.scope,
        key=key.index,
        replica=replica,
        intended_s=sent,
        sent_s=sent,
        done_s=time.monotonic(),
        status=reply.status_code,
        error="",
        cost_micro=0,
        served=reply.headers.get(SERVED_HEADER, ""),
        worker=reply.headers.get(WORKER_HEADER, f"{replica}.0"),
    )


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    """The body of a request; what is too long is cut, and then refused."""
    body, more = b"", True
    while more and len(body) <= _MOST_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body[: _MOST_BODY + 1]


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
