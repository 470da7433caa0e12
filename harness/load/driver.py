"""The load driver: ``python -m harness.load.driver``, a process of its own.

Reads `harness.domain.window` commands on standard input and answers on standard output; everything
else that is printed goes to standard error. It exits when its input ends, even in the middle of a
window, so that no load outlives the harness. `harness.load.client` is the other end.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.fileobject import FileObject
from gevent.queue import Queue
from locust import constant
from locust.env import Environment
from pydantic import BaseModel, ValidationError

from harness.domain.population import LoadKey, by_scope, read_keys
from harness.domain.samples import SampleWriter
from harness.domain.window import (
    COMMAND,
    Begun,
    Failed,
    LoadProgress,
    Ready,
    Shutdown,
    WindowCommand,
    WindowResult,
)
from harness.errors import HarnessError, InvalidRunError, UsageError, explain
from harness.load.balancer import ProbingBalancer
from harness.load.feeds import ClosedFeed, PlannedFeed, WindowFeed
from harness.load.kinds import OTHER
from harness.load.plan import Arrival, choices, open_plan, probe_plan
from harness.load.recorder import RequestRecorder
from harness.load.session import attach, detach, make_session
from harness.load.transport import outcome_of
from harness.load.users import USER_CLASSES
from harness.process.sockets import raise_open_files_limit

PROGRESS_S = 1.0
_LOGGED = 3
"""Per window, how many errors of unknown kind are logged."""

_log = logging.getLogger("harness.load.driver")


class _Line:
    """The two pipes to the harness. Reading and writing let other greenlets run."""

    def __init__(self) -> None:
        self._commands = FileObject(os.dup(0), "rb")
        self._events = FileObject(os.dup(1), "wb")
        # a stray print must not break the protocol
        os.dup2(2, 1)
        self._inbox: Queue[bytes] = Queue()
        self.closed = Event()
        """Set when the input has ended."""
        gevent.spawn(self._read)

    def send(self, event: BaseModel) -> None:
        self._events.write(event.model_dump_json().encode() + b"\n")
        self._events.flush()

    def receive(self) -> bytes | None:
        """The next command; None at the end of the input."""
        line: bytes = self._inbox.get()
        return line or None

    def _read(self) -> None:
        for line in self._commands:
            self._inbox.put(line)
        self.closed.set()
        self._inbox.put(b"")


def main() -> None:
    """Carry out commands until `Shutdown` arrives or the input ends."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    # Locust warns about what is intended here, e.g. that all users start at once
    logging.getLogger("locust").setLevel(logging.ERROR)
    raise_open_files_limit()
    line = _Line()
    # the modules' objects stay alive: the collector need not scan them during a window
    gc.collect()
    gc.freeze()
    line.send(Ready())
    while (text := line.receive()) is not None:
        try:
            command = COMMAND.validate_json(text)
        except ValidationError as error:
            line.send(Failed(message=f"The load driver got an invalid command. {explain(error)}"))
            continue
        if isinstance(command, Shutdown):
            break
        job = gevent.spawn(_carry_out, command, line)
        either: list[Any] = [job, line.closed]
        gevent.wait(either, count=1)
        if job.ready():
            line.send(job.get())


def _carry_out(command: WindowCommand, line: _Line) -> WindowResult | Failed:
    try:
        return run_window(command, line.send)
    except HarnessError as error:
        return Failed(message=str(error))
    except Exception as error:  # noqa: BLE001  # the driver stays up whatever happens
        _log.exception("window [%s] failed", command.window)
        return Failed(message=f"Window [{command.window}] failed: {type(error).__name__}: {error}")


Report = Callable[[Begun | LoadProgress], None]


def run_window(command: WindowCommand, report: Report) -> WindowResult:
    """Drive one window and return when nothing is outstanding.

    Takes at least ``duration_s``, and at most ``late_ms`` plus ``timeout_s`` longer.

    Args:
        command: what to do.
        report: called when the window begins, and once a second while it runs.

    Raises:
        UsageError: for a command that cannot be carried out.
        InvalidRunError: if a request was lost between plan and record, or a reply was invalid.
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
        delay_ms_median=recorder.delay_s_median * 1000,
        statuses=recorder.statuses(),
        statuses_by_key=recorder.statuses_by_key(),
        cost_micro=recorder.cost_micro,
        served=recorder.served(),
        keys=recorder.by_key(),
        replicas=recorder.replicas,
        elapsed_s=elapsed_s,
        cpu_s=cpu_s,
    )


def _feed(command: WindowCommand, keys: list[LoadKey]) -> tuple[WindowFeed, int | None]:
    """The feed of a window and the number of its planned requests, if that is known."""
    indices = by_scope(keys, refusals=command.refusals)
    replicas = len(command.hosts)
    probes = _probes(command, keys)
    if probes and not command.beside:
        return _planned(command, probes)
    if command.model == "open":
        plan = open_plan(
            command.mix,
            indices,
            rate_per_s=command.rate_per_s,
            duration_s=command.duration_s,
            replicas=replicas,
            seed=command.seed,
            weights=command.key_weights,
            stagger_s=command.stagger_s,
            zipf=command.zipf,
        )
        return _planned(command, sorted([*plan, *probes], key=_intended))
    picks = choices(
        command.mix,
        indices,
        replicas=replicas,
        seed=command.seed,
        weights=command.key_weights,
        zipf=command.zipf,
    )
    feed = ClosedFeed(
        picks, users=command.users, ramp_s=command.ramp_s, duration_s=command.duration_s
    )
    return feed, None


def _probes(command: WindowCommand, keys: list[LoadKey]) -> list[Arrival]:
    """The regular probes of a window and its single ones, in the order of their times."""
    regular = (
        probe_plan(
            [(index, _known(keys, index).scope) for index in command.probe_keys],
            every_s=command.probe_every_s,
            duration_s=command.duration_s,
            replicas=len(command.hosts),
            workers=command.workers,
            seed=command.seed,
        )
        if command.probe_keys
        else []
    )
    single = [
        Arrival(one.at_s, _known(keys, one.key).scope, one.key, one.replica)
        for one in command.single_probes
    ]
    return sorted([*regular, *single], key=_intended)


def _intended(arrival: Arrival) -> float:
    return arrival.intended_s or 0.0


def _planned(command: WindowCommand, plan: list[Arrival]) -> tuple[WindowFeed, int]:
    last_start_s = command.duration_s + command.late_ms / 1000
    return PlannedFeed(plan, last_start_s=last_start_s), len(plan)


def _known(keys: list[LoadKey], index: int) -> LoadKey:
    if not 0 <= index < len(keys):
        raise UsageError(
            f"Key [{index}] is to be probed, and the keys file has [{len(keys)}] keys, numbered "
            "from 0. Probe one of them."
        )
    return keys[index]


def _drive(
    command: WindowCommand,
    keys: list[LoadKey],
    feed: WindowFeed,
    recorder: RequestRecorder,
    report: Report,
) -> tuple[float, float]:
    """Run the users to their end; return the elapsed time and the CPU time in seconds."""
    environment = Environment(user_classes=list(USER_CLASSES))
    balancer = ProbingBalancer(command) if command.balancer == "probed" else None
    session = make_session(
        feed,
        hosts=command.hosts,
        keys=keys,
        pause=constant(0),
        connections=command.users,
        timeout_s=command.timeout_s,
        route=(lambda arrival: arrival) if balancer is None else balancer.route,
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
        report(Begun(window=command.window, monotonic_s=time.monotonic() - feed.now()))
        with _reporting(command.window, feed, recorder, report):
            runner.user_greenlets.join()
            feed.sleep_until(command.duration_s)
        return feed.now(), time.process_time() - cpu_s
    finally:
        if balancer is not None:
            balancer.close()
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
    window: str, feed: WindowFeed, recorder: RequestRecorder, report: Report
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
        # signalled, not killed: a report must not end in the middle of a line
        over.set()
        ticker.join()


if __name__ == "__main__":
    main()
