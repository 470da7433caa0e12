"""The one guard between a release and the code that watches it.

Whatever the instrumentation does, before a wrapped function runs or after it, it does within
`Guard.run`. An error there is counted under its point and goes no further: the function is called
exactly once, and its result or exception reaches the caller as it is. Any such error makes the run
invalid, since what was counted is then incomplete.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry

from harness.domain.series import INSTRUMENT_ERROR_TYPES, INSTRUMENT_ERRORS, INSTRUMENTED, HookPoint
from harness.targets.counters import CounterFamily, Gauges

T = TypeVar("T")
SHOWN = 5
"""Of so many kinds of error the first is written to stderr, with its traceback."""
UNDER_LOAD = (HookPoint.AUTH_CACHE, HookPoint.CODEC, HookPoint.GETTERS)
"""Points that every answered chat request passes: without an event they count nothing."""


class Ended(NamedTuple):
    """How a call of a wrapped function ended."""

    value: Any
    """What it returned; None where it raised."""
    error: BaseException | None


Watch = Generator[None, Ended, None]
"""Watches one call: runs up to its ``yield`` before the call, and gets an `Ended` afterwards.

It returns before its ``yield`` where the call is of no interest.
"""


class Guard:
    """Runs what wrappers do, counts its errors, and knows which points count.

    Args:
        registry: gets the series of the points.
        variant: a label of theirs.
    """

    def __init__(self, registry: CollectorRegistry, variant: str) -> None:
        self._variant = variant
        self.answered = 0
        """Chat requests answered with 200."""
        self.seen: set[HookPoint] = set()
        """Points that have counted an event under load."""
        self._wrapped: set[HookPoint] = set()
        self._because: dict[HookPoint, str] = {}
        errors = CounterFamily(
            registry,
            INSTRUMENT_ERRORS,
            "Errors within the instrumentation of a release.",
            ("point", "variant"),
        )
        self._errors = errors.table({point: (point, variant) for point in HookPoint})
        self._types = Gauges(
            registry,
            INSTRUMENT_ERROR_TYPES,
            "Errors within the instrumentation, by their type.",
            ("point", "error", "variant"),
        )
        self._points = Gauges(
            registry,
            INSTRUMENTED,
            "Whether a point of the release was wrapped and counts; if not, why.",
            ("point", "reason", "variant"),
        )

    def run(self, point: HookPoint, function: Callable[..., T], /, *args: Any) -> T | None:
        """Call a function of ours; if it fails, count that and return None."""
        try:
            return function(*args)
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the release
            with contextlib.suppress(Exception):
                self._failed(point, error)
            return None

    def sync(
        self, point: HookPoint, original: Callable[..., Any], watch: Callable[..., Watch]
    ) -> Callable[..., Any]:
        """Wrap a function of the release.

        Args:
            point: under which errors of ``watch`` are counted.
            original: called once with the arguments of each call.
            watch: gets the same arguments.
        """

        @functools.wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            steps = self.begin(point, watch, args, kwargs)
            try:
                value = original(*args, **kwargs)
            except BaseException as error:
                self.end(point, steps, None, error)
                raise
            self.end(point, steps, value, None)
            return value

        return watched

    def awaited(
        self, point: HookPoint, original: Callable[..., Any], watch: Callable[..., Watch]
    ) -> Callable[..., Any]:
        """Wrap a coroutine function of the release, as `sync` does."""

        @functools.wraps(original)
        async def watched(*args: Any, **kwargs: Any) -> Any:
            steps = self.begin(point, watch, args, kwargs)
            try:
                value = await original(*args, **kwargs)
            except BaseException as error:
                self.end(point, steps, None, error)
                raise
            self.end(point, steps, value, None)
            return value

        return watched

    def begin(
        self,
        point: HookPoint,
        watch: Callable[..., Watch],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Watch | None:
        """Begin to watch a call. None where there is nothing to watch, or ``watch`` failed."""
        # Not with stars: a keyword of the release could have the name of one of ours.
        return self.run(point, _begun, watch, args, kwargs)

    def end(
        self, point: HookPoint, steps: Watch | None, value: Any, error: BaseException | None
    ) -> None:
        """Tell a watch from `begin` how its call ended."""
        if steps is not None:
            self.run(point, _ended, steps, Ended(value, error))

    def wrap(self, point: HookPoint, wrap: Callable[[], None]) -> None:
        """Wrap a point; where that fails, it is not instrumented."""
        try:
            wrap()
        except Exception as error:  # noqa: BLE001 - a release may differ in any way
            self.doubt(point, f"cannot be wrapped: {_text(error)}")
        self._wrapped.add(point)

    def doubt(self, point: HookPoint, because: str) -> None:
        """A point is not instrumented, and why; the first reason stays."""
        if point not in self._because:
            self._because[point] = because
            _say(f"[{point}] is not instrumented: {because}")

    def trusts(self, point: HookPoint) -> bool:
        """Whether a point was wrapped and nothing speaks against it so far."""
        return point in self._wrapped and point not in self._because

    def refresh(self) -> None:
        """Update the gauge of the points."""
        if self.answered:
            for point in UNDER_LOAD:
                if self.trusts(point) and point not in self.seen:
                    self.doubt(point, "it has counted nothing although requests were answered")
        self._points.values = {
            (point, self._because.get(point, ""), self._variant): float(self.trusts(point))
            for point in sorted(self._wrapped)
        }

    def _failed(self, point: HookPoint, error: Exception) -> None:
        self._errors[point] += 1
        key = (point.value, type(error).__name__, self._variant)
        known = self._types.values
        if key not in known and len(known) < SHOWN:
            told = "".join(traceback.format_exception(error))
            _say(f"[{point}] failed; the release is not affected, the run is invalid.\n{told}")
        known[key] = known.get(key, 0.0) + 1


def _begun(watch: Callable[..., Watch], args: Any, kwargs: Any) -> Watch | None:
    steps = watch(*args, **kwargs)
    try:
        next(steps)
    except StopIteration:
        return None
    return steps


def _ended(steps: Watch, ended: Ended) -> None:
    if isinstance(ended.error, GeneratorExit):
        # A coroutine that was given up is closed in another context than the one it ran in: there
        # is nothing to count, and no variable to reset.
        with contextlib.suppress(Exception):
            steps.close()
        return
    try:
        steps.send(ended)
    except StopIteration:
        return
    raise RuntimeError("a watch did not end with its call")


def _text(error: Exception) -> str:
    lines = traceback.format_exception_only(error)
    return lines[-1].strip()[:200] if lines else type(error).__name__


def _say(text: str) -> None:
    # Not through logging: its records are counted.
    with contextlib.suppress(Exception):
        sys.stderr.write(f"authcache: {text}\n")
