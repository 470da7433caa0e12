"""What the exporter knows about a run: fleets, windows, and the load generator.

A run keeps one `RunState` and changes it as windows begin and end. It is a Pydantic model because a
harness that drives a stack in containers sends it to the exporter there as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import Metric
from pydantic import BaseModel, ConfigDict, Field

from harness.authcache.words import LOAD_SCOPES, ObjectKind
from harness.domain import series
from harness.domain.changes import ACTIONS
from harness.exporter.families import Values, counter, gauge, merge

_STATUSES = ("200", "401", "429", "500")
"""Statuses that are shown as 0 until they occur; others appear with their first request."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WindowState(_Part):
    """One stretch of load: the warm-up before a window, a cold fill, or a measured window."""

    variant: str
    phase: str
    """``warmup``, ``cold_fill``, ``measured``, ``changes`` or ``refusals``; ``load`` for one that
    was started in Locust."""
    round: int
    active: bool = False


class GeneratorCount(_Part):
    """What the load side has counted, since its start or in one window."""

    planned: int = 0
    """Requests that have come due."""
    late: int = 0
    max_delay_s: float = 0.0
    requests: dict[str, dict[str, int]] = {}
    """Answered requests by key scope and HTTP status."""

    def plus(self, window: GeneratorCount) -> GeneratorCount:
        """These counts plus those of a window; the greatest delay is the window's."""
        requests = {scope: dict(statuses) for scope, statuses in self.requests.items()}
        for scope, statuses in window.requests.items():
            have = requests.setdefault(scope, {})
            for status, n in statuses.items():
                have[status] = have.get(status, 0) + n
        return GeneratorCount(
            planned=self.planned + window.planned,
            late=self.late + window.late,
            max_delay_s=window.max_delay_s,
            requests=requests,
        )


class RunState(_Part):
    """A run as the exporter shows it. It contains neither the secret nor the id of a key."""

    replicas_expected: dict[str, int] = Field(default_factory=dict)
    """By variant."""
    reference_line_per_1000: dict[str, dict[str, float]] = Field(default_factory=dict)
    """By variant and key scope, `harness.domain.series.ALL` among them."""
    windows: list[WindowState] = Field(default_factory=list)
    generator: dict[str, GeneratorCount] = Field(default_factory=dict)
    """By variant; completed windows only, the current one is in ``running``."""
    running: dict[str, GeneratorCount] = Field(default_factory=dict)
    """By variant: the window that runs now."""
    changes: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Changes that Postgres holds, by variant and action."""
    stale_served: dict[str, dict[str, dict[str, int]]] = Field(default_factory=dict)
    """Replies beyond the promise, by variant, key scope and the object that was changed."""

    @classmethod
    def planned(
        cls,
        replicas: Mapping[str, int],
        lines: Mapping[str, Mapping[str, float]],
        windows: Iterable[tuple[str, str, int]],
    ) -> RunState:
        """The state before a run: every series exists, at 0.

        Args:
            replicas: expected number of replicas by variant.
            lines: reference line per 1,000 requests by variant and key scope.
            windows: variant, phase and round of every stretch to come; repeated ones count once.
        """
        return cls(
            replicas_expected=dict(replicas),
            reference_line_per_1000={name: dict(line) for name, line in lines.items() if line},
            windows=[
                WindowState(variant=variant, phase=phase, round=number)
                for variant, phase, number in dict.fromkeys(windows)
            ],
            generator={variant: GeneratorCount() for variant in replicas},
        )

    def began(self, variant: str, phase: str, number: int) -> None:
        """A stretch of load has begun."""
        self._window(variant, phase, number).active = True

    def ended(self, variant: str, phase: str, number: int) -> None:
        """A stretch of load has ended, with or without a result; its counts are kept."""
        self._window(variant, phase, number).active = False
        window = self.running.pop(variant, None)
        if window is not None:
            self.generator[variant] = self.generator.get(variant, GeneratorCount()).plus(window)

    def counted(self, variant: str, window: GeneratorCount) -> None:
        """Set what the load side has counted in the running window so far."""
        self.running[variant] = window

    def changed(self, variant: str, action: str) -> None:
        """A change was made, and Postgres holds it."""
        actions = self.changes.setdefault(variant, {})
        actions[action] = actions.get(action, 0) + 1

    def served_stale(self, variant: str, scope: str, kind: str, n: int) -> None:
        """Add replies that were stale after a change of an object."""
        objects = self.stale_served.setdefault(variant, {}).setdefault(scope, {})
        objects[kind] = objects.get(kind, 0) + n

    def metrics(self) -> Iterator[Metric]:
        """The state as metric families."""
        yield _gauge(
            series.REPLICAS_EXPECTED,
            "Replicas that the fleet should have.",
            {(variant,): n for variant, n in self.replicas_expected.items()},
        )
        yield _gauge(
            series.REFERENCE_LINE,
            "One read for each object and TTL, per 1,000 requests.",
            {
                (scope, variant): value
                for variant, line in self.reference_line_per_1000.items()
                for scope, value in line.items()
            },
            "key_scope",
        )
        yield _gauge(
            series.WINDOW_ACTIVE,
            "Whether a stretch of load runs now.",
            {(w.phase, str(w.round), w.variant): float(w.active) for w in self.windows},
            "phase",
            "round",
        )
        yield from self._generator()
        yield from self._freshness()

    def _freshness(self) -> Iterator[Metric]:
        variants = dict.fromkeys((*self.generator, *self.changes))
        yield _counter(
            series.CHANGES,
            "Changes that were made and that Postgres holds.",
            {
                (action, variant): self.changes.get(variant, {}).get(action, 0)
                for variant in variants
                for action in ACTIONS
            },
            "action",
        )
        yield _counter(
            series.STALE_SERVED,
            "Replies that only a version older than the promise called for.",
            {
                (kind.value, scope.value, variant): self.stale_served.get(variant, {})
                .get(scope, {})
                .get(kind, 0)
                for variant in variants
                for scope in LOAD_SCOPES
                for kind in ObjectKind
            },
            "object",
            "key_scope",
        )

    def _generator(self) -> Iterator[Metric]:
        whole = {
            variant: count.plus(running) if (running := self.running.get(variant)) else count
            for variant, count in self.generator.items()
        }
        yield _counter(
            series.GENERATOR_PLANNED,
            "Requests of the load generator that have come due.",
            {(variant,): count.planned for variant, count in whole.items()},
        )
        yield _counter(
            series.GENERATOR_LATE,
            "Requests that started late after their intended time.",
            {(variant,): count.late for variant, count in whole.items()},
        )
        yield _gauge(
            series.GENERATOR_DELAY,
            "Greatest delay of a request's start in the latest window.",
            {(variant,): count.max_delay_s for variant, count in whole.items()},
        )
        answered: dict[tuple[str, ...], float] = {}
        for variant, count in whole.items():
            for scope in LOAD_SCOPES:
                for status in _STATUSES:
                    answered[scope.value, status, variant] = 0
            for name, statuses in count.requests.items():
                for status, n in statuses.items():
                    answered[name, status, variant] = n
        yield _counter(
            series.GENERATOR_REQUESTS,
            "Requests answered, as the load side saw them.",
            answered,
            "key_scope",
            "status",
        )

    def _window(self, variant: str, phase: str, number: int) -> WindowState:
        for window in self.windows:
            if (window.variant, window.phase, window.round) == (variant, phase, number):
                return window
        window = WindowState(variant=variant, phase=phase, round=number)
        self.windows.append(window)
        return window


def _gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    return merge([gauge(name, text, values, *labels)])


def _counter(name: str, text: str, values: Values, *labels: str) -> Metric:
    return merge([counter(name, text, values, *labels)])
