"""The bars: limits on what each part may cost, one table for report, docs and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.arms import FLOOR
from benchmarks.codecs import LITELLM
from benchmarks.options import Group
from benchmarks.statistics import Rounds, Summary, figure, ratio


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit on one figure, or on its ratio to another of the same round."""

    name: str
    group: Group
    title: str
    figure: str
    limit: float
    unit: str
    """``x`` for a ratio."""
    over: str = ""
    """The denominator of a ratio."""
    floor: float | None = None
    """The least possible value, if it is known beforehand."""
    floor_figure: str = ""
    """The figure that is the floor, measured in the same rounds."""


BARS: tuple[Threshold, ...] = (
    Threshold(
        "memory",
        "requests",
        "memory answers / raw handler",
        "memory.cpu_us",
        1.8,
        "x",
        over=f"{FLOOR}.cpu_us",
        floor=1.0,
    ),
    Threshold(
        "redis",
        "requests",
        "Redis answers / raw handler",
        "redis.cpu_us",
        8.0,
        "x",
        over=f"{FLOOR}.cpu_us",
        floor=1.0,
    ),
    Threshold(
        "postgres",
        "requests",
        "Postgres answers / raw handler",
        "postgres.cpu_us",
        16.0,
        "x",
        over=f"{FLOOR}.cpu_us",
        floor=1.0,
    ),
    Threshold(
        "metrics",
        "requests",
        "metrics and accounting on / off",
        "memory.cpu_us",
        1.10,
        "x",
        over="memory_uncounted.cpu_us",
        floor=1.0,
    ),
    Threshold(
        "encode",
        "codecs",
        "encode, msgspec / LiteLLM's way",
        "codecs.msgspec.encode_us",
        0.40,
        "x",
        over=f"codecs.{LITELLM}.encode_us",
    ),
    Threshold(
        "decode",
        "codecs",
        "decode, msgspec / LiteLLM's way",
        "codecs.msgspec.decode_us",
        0.50,
        "x",
        over=f"codecs.{LITELLM}.decode_us",
    ),
    Threshold(
        "start",
        "start",
        "8 replicas, start to all ready",
        "replicas.start_s",
        5.0,
        "s",
        floor_figure="bare.start_s",
    ),
    Threshold(
        "memory_held",
        "start",
        "8 replicas, resident memory",
        "replicas.rss_mib",
        800.0,
        "MiB",
        floor_figure="bare.rss_mib",
    ),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A bar with its measurement."""

    bar: Threshold
    measured: Summary
    floor: float | None

    @property
    def state(self) -> Literal["held", "missed", "undecided"]:
        """By the interval of the median: all of it within the bar, or beyond, or neither."""
        low, high = self.measured.median_low, self.measured.median_high
        if high is not None and high <= self.bar.limit:
            return "held"
        return "missed" if low is not None and low > self.bar.limit else "undecided"

    @property
    def above_floor(self) -> float | None:
        """Measured over floor."""
        return None if not self.floor else self.measured.median / self.floor


def judge(rounds: Rounds) -> list[Judged]:
    """Every bar whose figures were measured."""
    judged = []
    for bar in BARS:
        over = bar.over
        measured = ratio(rounds, bar.figure, over) if over else figure(rounds, bar.figure)
        if measured is None:
            continue
        floor = bar.floor
        if bar.floor_figure:
            found = figure(rounds, bar.floor_figure)
            floor = None if found is None else found.median
        judged.append(Judged(bar, measured, floor))
    return judged
