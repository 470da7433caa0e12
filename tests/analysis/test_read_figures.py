"""The figures of a variant's source reads, from windows and logs made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.read_figures import ReadFigures, read_figures
from harness.domain.reads import ObjectRead, object_id
from harness.domain.result import KeptAlive
from harness.domain.samples import Sample, SampleWriter
from harness.domain.window import ServedCount
from harness.observe.counters import Series
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RunPlan
from harness.scenario.schema import Scenario
from tests.observe.build import evidence, series
from tests.plan.build import DescribedTarget, planned

ARM = Arm("a", "", DescribedTarget())
TTL_S, WINDOW_S = 2.0, 10.0
REQUESTS = {"user": {"200": 500}}


def plan(**population: int) -> RunPlan:
    """One worker; keys of users, in weights 1 : 4."""
    scenario = Scenario.model_validate(
        {
            "name": "made-up",
            "title": "Made up",
            "ttl_s": TTL_S,
            "replicas": 1,
            "variants": ["a"],
            "population": {"user": 2} | population,
            "load": {
                "rate_per_s": 50,
                "mix": {"member" if population.get("member") else "user": 1},
            },
        }
    )
    return planned(scenario, ARM)


def reads(
    run: RunPlan, interval_s: float, *, kind: str = "user", key: int = 0, until_s: float = WINDOW_S
) -> list[ObjectRead]:
    """Reads of one object every so often."""
    one = run.keys[key]
    ids = (one.token,) if kind == "key" else (one.user_id or "",)
    name = object_id(kind, *ids)
    count = int(until_s / interval_s)
    return [ObjectRead(i * interval_s, 0, name, kind, "", one.scope) for i in range(count)]


def counted(n: int, kind: str = "user", reason: str = "miss") -> tuple[Series, float]:
    return series("authcache_source_reads_total", n, object=kind, reason=reason, key_scope="user")


REDIS = series("authcache_lookups_total", 1, tier="redis", outcome="miss")


def window(
    log: list[ObjectRead] | None, *counts: tuple[Series, float], name: str = "w", pause_s: float = 0
) -> Evidence:
    made = evidence(
        counted=(REDIS, *counts), duration_s=WINDOW_S, generator={"statuses": REQUESTS}, name=name
    )
    return replace(made, reads=None if log is None else tuple(sorted(log)), pause_s=pause_s)


def figures(run: RunPlan, *windows: Evidence, folder: Path = Path("nowhere")) -> ReadFigures:
    return read_figures(run, ARM, windows, folder)


def test_the_ttl_kept_is_that_of_what_expires_in_all_windows() -> None:
    run = plan()
    log = reads(run, 1.8) + reads(run, 1.8, key=1)
    found = figures(run, window(log, counted(10)), window(log, counted(10)))
    assert found.ttl_kept["user"].value == found.ttl_kept["all"].value == 0.9
    assert found.ttl_kept["user"].n == 2 * 2 * 4
    assert found.elasticity["user"]["user"].value == 0.0


def test_a_warm_up_has_intervals_too_but_none_into_the_window() -> None:
    run = plan()
    log = reads(run, 1.8)
    one = window(log, counted(5))
    assert "user" not in figures(run, one).ttl_kept, "four intervals are not judged"
    warm = replace(one, warmup_reads=tuple(read._replace(at_s=read.at_s - 100) for read in log))
    assert figures(run, warm).ttl_kept["user"].n == 8


def test_reads_per_object_and_ttl_are_those_of_the_counters_over_all_ttls() -> None:
    run = plan()
    log = reads(run, 2.5) + reads(run, 2.5, kind="key")
    found = figures(run, window(log, counted(4), counted(4, "key")))
    # Two keys with two objects each, five TTLs.
    assert found.per_object_and_ttl == {"all": 0.4, "user": 0.4}
    # A worker reads after a TTL and the wait for a request: 20 and 80 requests a TTL.
    expected = (1 / (1 + 1 / 20) + 1 / (1 + 1 / 80)) / 2
    assert found.expected["user"] == pytest.approx(expected, abs=1e-4)
    over = found.over_expected["user"]
    assert over.value == pytest.approx(0.4 / expected, abs=1e-3)
    assert over.n == 2
    assert over.low == 0.0, "one of two keys was never read"


def test_what_expires_in_the_pause_before_a_window_is_no_surplus() -> None:
    run = plan()
    with_pause = figures(run, window([], counted(20), pause_s=1.0))
    assert with_pause.per_object_and_ttl["user"] == pytest.approx(20 / 4 / 5.5, abs=1e-4)
    log = [
        r for kind in ("key", "user") for key in (0, 1) for r in reads(run, 2.0, kind=kind, key=key)
    ]
    counts = (counted(10), counted(10, "key"))
    short = figures(run, window(log, *counts)).over_expected["user"]
    paused = figures(run, window(log, *counts, pause_s=1.0)).over_expected["user"]
    assert paused.value == pytest.approx(short.value / 1.1, abs=1e-3)
    assert paused.high == pytest.approx(short.high, abs=1e-3), "as if there had been none"
    assert paused.low == pytest.approx((short.low or 0) / 1.1, abs=1e-3)
    long = figures(run, window([], counted(20), pause_s=60.0))
    assert long.per_object_and_ttl["user"] == pytest.approx(20 / 4 / 6, abs=1e-4), "once at most"


def test_bounds_need_every_read_with_its_object() -> None:
    run = plan()
    over = figures(run, window(reads(run, 2.0), counted(6))).over_expected["user"]
    assert (over.low, over.high) == (None, None)
    assert over.value > 0


def test_what_does_not_decode_is_read_per_request_and_no_entry_of_its_kind_expires() -> None:
    run = plan()
    log = reads(run, 0.3, until_s=9.0) + reads(run, 1.8, kind="key", key=1)
    counts = (counted(30, reason="deserialize_failure"), counted(5, "key"), counted(2, "user"))
    found = figures(run, window(log, *counts), window(log, *counts))
    # All 32 reads of that kind in 500 requests: each read is in one of the two figures.
    assert found.other_per_request == {"all": 0.064, "user": 0.064}
    # Only the keys are left: two of them, of which one was read.
    assert found.per_object_and_ttl["user"] == 0.5
    assert found.ttl_kept["user"].value == 0.9
    assert found.elasticity["user"]["user"].n == 60, "what grows is judged all the same"


def test_what_is_never_cached_is_read_per_request_and_has_no_ttl() -> None:
    """An absence that is not remembered: its reads are misses like those of what expired."""
    run = plan()
    log = reads(run, 0.1) + reads(run, 0.025, key=1) + reads(run, 1.8, kind="key")
    found = figures(run, window(log, counted(500), counted(5, "key")), window([]))
    assert found.elasticity["user"]["user"].value == pytest.approx(1.0, abs=0.01)
    assert found.other_per_request["user"] == 0.5
    # Two keys, ten TTLs.
    assert found.per_object_and_ttl["user"] == 0.25
    assert "user" not in found.ttl_kept, "four intervals of one key"


def test_without_redis_every_worker_has_its_own_entries() -> None:
    run = plan()
    log = [
        read._replace(worker=worker, at_s=read.at_s + 0.7 * worker)
        for worker in range(2)
        for read in reads(run, 1.8)
    ]
    alone = evidence(counted=(counted(10),), duration_s=WINDOW_S, generator={"statuses": REQUESTS})
    alone = replace(alone, reads=tuple(sorted(log)))
    assert figures(run, alone).ttl_kept["user"].value == 0.9
    shared = window(log, counted(10))
    assert figures(run, shared).ttl_kept["user"].value == pytest.approx(0.35)


def test_where_no_log_is_kept_reads_are_those_that_replies_name(tmp_path: Path) -> None:
    run = plan()
    for name, times in (("w", 5), ("w-warmup", 4)):
        _samples(tmp_path, name, "user", [(key, 1.8 * i) for i in range(times) for key in (0, 1)])
    found = figures(run, window(None, counted(10)), folder=tmp_path)
    assert found.ttl_kept["user"].value == 0.9
    assert found.ttl_kept["user"].n == 2 * (4 + 3)
    assert found.elasticity["user"]["user"].n == 10, "without those of the warm-up"
    assert found.over_expected["user"].low is not None, "all ten reads are named"


def test_replies_do_not_name_the_entry_of_a_membership_so_it_has_no_intervals(
    tmp_path: Path,
) -> None:
    run = plan(user=0, member=2)
    answers = {"statuses": {"member": {"200": 500}}}
    one = evidence(counted=(REDIS,), duration_s=WINDOW_S, generator=answers, name="w")
    for kind, judged in (("membership", False), ("user", True)):
        times = [(key, 0.9 * i) for i in range(9) for key in (0, 1)]
        _samples(tmp_path, "w", "member", times, kind)
        found = figures(run, replace(one, reads=None), folder=tmp_path)
        assert ("member" in found.ttl_kept) is judged


def _samples(
    folder: Path, name: str, scope: str, reads: list[tuple[int, float]], kind: str = "user"
) -> None:
    """Replies that name a read of one kind of object, and others from memory, by key and time."""
    with SampleWriter(folder / f"{name}.csv.gz") as samples:
        for key, at_s in reads:
            for tier in ("source", "memory"):
                served = f"{kind};{tier};0123;-,key;memory;0123;-"
                samples.write(Sample(name, scope, key, 0, at_s, at_s, at_s, 200, "", 0, served))


def served(key: int, n: int, *, age_ms: int = 900, tier: str = "memory") -> ServedCount:
    return ServedCount(
        scope="user", key_index=key, object="user", tier=tier, digest="d", count=n,
        age_ms_max=age_ms,
    )  # fmt: skip


def kept(
    run: RunPlan, log: list[ObjectRead], *counts: ServedCount, promise_s: float = 4.1
) -> dict[str, dict[str, KeptAlive]]:
    one = window(log, counted(len(log)))
    generator = one.generator.model_copy(update={"served": list(counts)})
    return figures(run, replace(one, generator=generator, promise_s=promise_s)).kept_alive


def test_an_object_that_is_served_and_hardly_read_is_kept_alive() -> None:
    """Five TTLs, 20 answers each; a correct cache reads it four to five times."""
    run = plan()
    log = reads(run, 2.0, key=1)
    assert kept(run, log, served(0, 100), served(1, 100)) == {
        "user": {"user": KeptAlive(rarely_read=1, objects=2)}
    }
    assert kept(run, log, served(0, 99), served(1, 100)) == {}, "served too rarely to say so"
    assert kept(run, log, served(0, 100, tier="shared"), served(1, 100)) == {}
    assert kept(run, log + reads(run, 10.0), served(0, 100), served(1, 100)) == {}
    # A correct cache may go without a read in a window that is shorter than the promise.
    assert kept(run, log, served(0, 100), served(1, 100), promise_s=10.0) == {}


def test_an_entry_served_when_older_than_the_promise_is_kept_alive() -> None:
    run = plan()
    log = reads(run, 2.0) + reads(run, 2.0, key=1)
    assert kept(run, log, served(0, 9, age_ms=4100), served(1, 9)) == {}
    assert kept(run, log, served(0, 9, age_ms=4101), served(1, 9)) == {
        "user": {"user": KeptAlive(age_max_s=4.101)}
    }


def test_without_samples_or_a_read_log_nothing_is_said_to_be_kept_alive() -> None:
    run = plan()
    one = window(None, counted(0))
    generator = one.generator.model_copy(update={"served": [served(0, 500)]})
    assert figures(run, replace(one, generator=generator, promise_s=4.1)).kept_alive == {}


@pytest.mark.parametrize("named", [True, False])
def test_an_object_is_hardly_read_only_where_replies_name_every_read(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases that read several objects by one statement name some of them from no read."""
    monkeypatch.setattr(type(ARM.target), "names_reads", named)
    run = plan()
    one = window(None, counted(0))
    SampleWriter(tmp_path / f"{one.name}.csv.gz").close()
    generator = one.generator.model_copy(update={"served": [served(0, 500)]})
    found = figures(run, replace(one, generator=generator, promise_s=4.1), folder=tmp_path)
    assert bool(found.kept_alive) is named
