"""An arm is what it is called: the tier that it names answered every lookup."""

from __future__ import annotations

import pytest

from benchmarks.arms import QUICK, MeasuredServer, arms
from benchmarks.requests import _check_tier
from harness.errors import InvalidRunError
from harness.observe.counters import Counters, Series

ARMS = {arm.name: arm for arm in arms(QUICK)}
OBJECTS = 2 * QUICK.memory


def counted(*, memory: int = 0, missed: int = 0, redis: int = 0, reads: int = 0) -> Counters:
    def lookups(tier: str, outcome: str) -> Series:
        return "authcache_lookups_total", frozenset({("tier", tier), ("outcome", outcome)})

    return Counters(
        {
            lookups("memory", "hit"): memory,
            lookups("memory", "miss"): missed,
            lookups("redis", "hit"): redis,
            ("authcache_source_reads_total", frozenset()): reads,
        }
    )


RIGHT = {
    "memory": counted(memory=OBJECTS),
    "litellm_1_84": counted(memory=3 * OBJECTS),
    "redis": counted(missed=OBJECTS, redis=OBJECTS),
    "postgres": counted(missed=OBJECTS, reads=OBJECTS),
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_tier_that_was_meant(name: str) -> None:
    _check_tier(ARMS[name], RIGHT[name])


@pytest.mark.parametrize(
    ("name", "counters"),
    [
        ("memory", counted(memory=OBJECTS - 1, missed=1, redis=1)),
        ("memory", counted(memory=OBJECTS, reads=1)),
        ("redis", counted(missed=OBJECTS, redis=OBJECTS - 1, reads=1)),
        ("redis", counted(memory=1, missed=OBJECTS - 1, redis=OBJECTS)),
        ("postgres", counted(missed=OBJECTS, redis=1, reads=OBJECTS)),
        ("postgres", counted(missed=OBJECTS, reads=OBJECTS - 2)),
    ],
)
def test_another_tier_makes_the_benchmark_invalid(name: str, counters: Counters) -> None:
    arm: MeasuredServer = ARMS[name]

    with pytest.raises(InvalidRunError, match=f"a tier other than {arm.tier} answered"):
        _check_tier(arm, counters)
