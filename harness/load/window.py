"""One window of load with Locust as a library."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust import constant
from locust.env import Environment

from harness.domain.population import LoadKey, by_scope, read_keys
from harness.domain.samples import SampleWriter
from harness.domain.window import LoadProgress, WindowCommand, WindowResult
from harness.errors import InvalidRunError, UsageError
from harness.load.feeds import ClosedFeed, PlannedFeed, WindowFeed
from harness.load.kinds import OTHER
from harness.load.plan import choices, open_plan
from harness.load.recorder import RequestRecorder
from harness.load.session import attach, detach, make_session
from harness.load.transport import outcome_of
from harness.load.users import USER_CLASSES

PROGRESS_S = 1.0
_LOGGED = 3
"""Errors of no known kind that are logged, in each window."""

_log = logging.getLogger("harness.load.driver")


def run_window(command: WindowCommand, report: Callable[[LoadProgress], None]) -> WindowResult:
    """Drive one window and return when nothing is outstanding.

    Lasts ``duration_s`` at least, and at most ``late_ms`` and ``timeout_s`` longer.

    Args:
        command: what to do.
        report: called once a second while the window runs.

    Raises:
        UsageError: for a command that cannot be carried out.
        InvalidRunError: if a request got lost between plan and record, or a reply made no sense.
    """
    if command.users < 1:
        raise UsageError(f"A load needs users; it got [{command.users}]. Give at least one.")
    keys = read_keys(Path(command.keys_file))
    feed, planned = _feed(command, keys)
    samples = SampleWriter(Path(command.samples_file)) if command.samples_file else None
    try:
        recorder = RequestRecorder(
            command.window,
            replicas=len(command.hosts),
            late_ms=command.late_ms,
            samples=samples,
        )
        elapsed_s, cpu_s = _drive(command, keys, feed, recorder, report)
    finally:
        if samples is not None:
            samples.close()
    recorder.check(feed.taken)
    return WindowResult(
        window=command.window,
        planned=feed.taken if planned is None else planned,
        sent=recorder.sent,
        answered=recorder.answered,
        unanswered=dict(sorted(recorder.unanswered.items())),
        late=recorder.late,
        delay_ms_max=recorder.delay_s_max * 1000,
        statuses=recorder.statuses(),
        cost_micro=recorder.cost_micro,
        served=recorder.served(),
        replicas=recorder.replicas,
        elapsed_s=elapsed_s,
        cpu_s=cpu_s,
    )


def _feed(command: WindowCommand, keys: list[LoadKey]) -> tuple[WindowFeed, int | None]:
    """The feed of a window and the number of its planned requests, if that is known."""
    indices = by_scope(keys)
    replicas = len(command.hosts)
    if command.model == "open":
        plan = open_plan(
            command.mix,
            indices,
            rate_per_s=command.rate_per_s,
            duration_s=command.duration_s,
            replicas=replicas,
            seed=command.seed,
        )
        last_start_s = command.duration_s + command.late_ms / 1000
        return PlannedFeed(plan, last_start_s=last_start_s), len(plan)
    picks = choices(command.mix, indices, replicas=replicas, seed=command.seed)
    feed = ClosedFeed(
        picks, users=command.users, ramp_s=command.ramp_s, duration_s=command.duration_s
    )
    return feed, None


def _drive(
    command: WindowCommand,
    keys: list[LoadKey],
    feed: WindowFeed,
    recorder: RequestRecorder,
    report: Callable[[LoadProgress], None],
) -> tuple[float, float]:
    """Run the users to their end; return the elapsed time and the CPU time in seconds."""
    environment = Environment(user_classes=list(USER_CLASSES))
    session = make_session(
        feed,
        hosts=command.hosts,
        keys=keys,
        pause=constant(0),
        connections=command.users,
        timeout_s=command.timeout_s,
    )
    attach(environment, session)
    hooks: Any = environment.events  # Locust's hooks have no types
    hooks.request.add_listener(_listener(command.window, feed, recorder))
    runner = environment.create_local_runner()
    try:
        runner.start(command.users, spawn_rate=command.users)
        if runner.spawning_greenlet is not None:
            runner.spawning_greenlet.join()
        if runner.user_count != command.users:
            raise InvalidRunError(
                f"[{runner.user_count}] of [{command.users}] Locust users started. "
                "See the load driver's log for the reason."
            )
        cpu_s = time.process_time()
        feed.begin()
        with _reporting(command.window, feed, recorder, report):
            runner.user_greenlets.join()
            feed.sleep_until(command.duration_s)
        return feed.now(), time.process_time() - cpu_s
    finally:
        runner.quit()
        detach(environment)


def _listener(window: str, feed: WindowFeed, recorder: RequestRecorder) -> Callable[..., None]:
    def on_request(
        *, response: Any, exception: BaseException | None, context: dict[str, Any], **_: Any
    ) -> None:
        done_s = feed.now()
        sent_s = feed.at(context["sent"])
        outcome = outcome_of(response, exception)
        recorder.record(context["arrival"], sent_s, done_s, outcome)
        if outcome.error == OTHER and recorder.unanswered[OTHER] <= _LOGGED:
            _log.warning("a request of window [%s] ended with %r", window, exception)

    return on_request


@contextmanager
def _reporting(
    window: str, feed: WindowFeed, recorder: RequestRecorder, report: Callable[[LoadProgress], None]
) -> Iterator[None]:
    """Report progress once a second until the block ends."""
    over = Event()

    def tick() -> None:
        last_s, last_answered = 0.0, 0
        while not over.wait(PROGRESS_S):
            now_s, answered = feed.now(), recorder.answered
            report(
                LoadProgress(
                    window=window,
                    elapsed_s=now_s,
                    answered=answered,
                    failed=recorder.failed,
                    requests_per_s=(answered - last_answered) / (now_s - last_s),
                    due=feed.due(),
                    late=recorder.late,
                    delay_ms_max=recorder.delay_s_max * 1000,
                    statuses=recorder.statuses(),
                )
            )
            last_s, last_answered = now_s, answered

    ticker = gevent.spawn(tick)
    try:
        yield
    finally:
        # asked, not killed: a report must not end in the middle of a line
        over.set()
        ticker.join()
