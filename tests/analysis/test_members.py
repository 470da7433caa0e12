"""Figures by replica's variant, from windows and samples made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.members import NOT_SAID, POSTGRES, by_member
from harness.domain.result import MemberResult
from harness.domain.samples import Sample, SampleWriter
from harness.domain.served import Served, format_served
from harness.observe.counters import Series
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RunPlan
from harness.scenario.schema import Scenario
from harness.targets.base import Database, KeyTruth
from harness.targets.mixed import MixedTarget
from harness.targets.schema.database import LiteLLMDatabase
from tests.observe.build import evidence, page, series
from tests.plan.build import DescribedTarget, planned

READS, LOOKUPS = "authcache_source_reads_total", "authcache_lookups_total"
BY_WRITER = "authcache_failed_reads_by_writer_total"


@dataclass
class Stored(DescribedTarget):
    @property
    def database(self) -> Database:
        return LiteLLMDatabase()


TARGET = MixedTarget(["a", "b"], [Stored(version="1"), Stored(version="2")])
ARM = Arm("mixed:a+b", "Both", TARGET)
RIGHT = KeyTruth({"key": "right"}, 200, also=(422,))


def plan() -> RunPlan:
    scenario = Scenario.model_validate(
        {
            "name": "made-up",
            "title": "Made up",
            "ttl_s": 2.0,
            "replicas": 3,
            "workers": 2,
            "variants": ["mixed:a+b"],
            "population": {"team": 1},
            "load": {"rate_per_s": 100.0, "mix": {"team": 1}},
        }
    )
    return planned(scenario, ARM)


def failures(n: int) -> tuple[Series, float]:
    labels = {"tier": "redis", "op": "load", "outcome": "deserialize_failure", "key_scope": "team"}
    return series(LOOKUPS, n, object="user", **labels)


def window(*pages: tuple[tuple[Series, float], ...]) -> Evidence:
    """A window of three replicas with two workers each: a, b and a."""
    found = evidence(truths={0: RIGHT}, members=("a", "b", "a"))
    after = tuple(page(*one) for one in pages)
    return replace(
        found,
        before=replace(found.before, workers=(page(),) * len(after)),
        after=replace(found.after, workers=after),
    )


def result(
    folder: Path, whole: Evidence, samples: Sequence[Sample] = ()
) -> dict[str, MemberResult]:
    with SampleWriter(folder / f"{whole.name}.csv.gz") as writer:
        for sample in samples:
            writer.write(sample)
    return by_member(plan(), ARM, [whole], folder)


def sample(replica: int, *served: Served, status: int = 200, error: str = "") -> Sample:
    text = format_served(list(served))
    return Sample("w", "team", 0, replica, 1.0, 1.0, 1.5, status, error, 0, text)


READ_ONCE = (series(READS, 1, object="key", reason="miss", key_scope="team"),)
SIX = (READ_ONCE,) * 6


def test_each_worker_counts_for_the_variant_of_its_replica(tmp_path: Path) -> None:
    pages = [(series(READS, 10**n, object="key", reason="miss"),) for n in range(6)]

    found = result(tmp_path, window(*pages))

    assert found["a"].source_reads == 110_011
    assert found["b"].source_reads == 1_100
    assert (found["a"].replicas, found["b"].replicas) == ([0, 2], [1])
    assert (found["a"].version, found["b"].version) == ("1", "2")


def test_requests_are_told_apart_by_their_replica(tmp_path: Path) -> None:
    found = result(
        tmp_path,
        window(*SIX),
        [
            sample(0),
            sample(2),
            sample(1, status=401),
            sample(1, status=422),
            sample(2, status=0, error="timeout"),
        ],
    )

    assert found["a"].requests == {"team": {"200": 2}}
    assert found["a"].unanswered == {"timeout": 1}
    assert found["b"].requests == {"team": {"401": 1, "422": 1}}
    # 422 is right: the other variant of this fleet refuses with it.
    assert found["b"].unexpected_statuses == {"team": {"401": 1}}
    assert found["a"].source_reads_per_1000 == 2000.0


def test_what_cannot_be_read_is_counted_by_writer(tmp_path: Path) -> None:
    new = (failures(5), series(BY_WRITER, 3, object="user", writer="a", variant="b"))
    release = (failures(2),)

    found = result(tmp_path, window((), (), new, (), release, ()))

    assert found["b"].unread == {"a": {"user": 3}, NOT_SAID: {"user": 2}}
    assert found["a"].unread == {NOT_SAID: {"user": 2}}


def test_wrong_data_is_counted_by_the_writer_of_the_entry(tmp_path: Path) -> None:
    found = result(
        tmp_path,
        window(*SIX),
        [
            sample(1, Served("key", "redis", "other", 5, "a")),
            sample(1, Served("key", "memory", "right", 5, "a")),
            sample(1, Served("key", "source", "other", 0)),
            sample(0, Served("key", "redis", "other", None)),
        ],
    )

    assert found["b"].wrong == {"a": {"key": 1}, POSTGRES: {"key": 1}}
    assert found["a"].wrong == {NOT_SAID: {"key": 1}}


def test_a_fleet_of_one_variant_has_no_members(tmp_path: Path) -> None:
    assert result(tmp_path, evidence()) == {}
