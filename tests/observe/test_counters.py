from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from harness.observe.counters import Counters


def _page(**values: int) -> Counters:
    registry = CollectorRegistry()
    counter = Counter("lookups", "text", ["tier", "outcome"], registry=registry)
    for key, n in values.items():
        tier, outcome = key.split("_")
        counter.labels(tier, outcome).inc(n)
    return Counters.parse(generate_latest(registry).decode())


def test_sums_by_label() -> None:
    page = _page(memory_hit=3, memory_miss=2, redis_hit=1)
    assert page.sum("lookups_total") == 6
    assert page.sum("lookups_total", tier="memory") == 5
    assert page.sum("lookups_total", tier="memory", outcome="miss") == 2
    assert page.sum("nothing") == 0
    assert page.by("lookups_total", "tier") == {("memory",): 5, ("redis",): 1}
    assert page.by("lookups_total", "outcome", tier="memory") == {("hit",): 3, ("miss",): 2}


def test_since_counts_new_series_from_zero() -> None:
    delta = _page(memory_hit=5, redis_hit=2).since(_page(memory_hit=3))
    assert delta.sum("lookups_total", tier="memory") == 2
    assert delta.sum("lookups_total", tier="redis") == 2


def test_workers_add_up() -> None:
    total = Counters.total([_page(memory_hit=5), _page(memory_hit=1, redis_hit=2)])
    assert total.sum("lookups_total", tier="memory") == 6
    assert total.sum("lookups_total", tier="redis") == 2


def test_a_counter_that_fell_is_named() -> None:
    assert _page(memory_hit=5).fallen(_page(memory_hit=3)) == []
    assert _page(memory_hit=2).fallen(_page(memory_hit=3)) == ["lookups_total"]
    assert _page(redis_hit=2).fallen(_page(memory_hit=3)) == ["lookups_total"]


def test_creation_times_are_left_out() -> None:
    assert not [name for (name, _), _ in _page(memory_hit=1).items() if "created" in name]


def test_a_page_is_read_as_prometheus_reads_it() -> None:
    registry = CollectorRegistry()
    odd = Gauge("odd", "text with # and {", ["a", "b"], registry=registry)
    for n, value in enumerate(
        ('with "quotes" and \\', "two\nlines", "{}, = 1", "", "#", " ", "\u2028")
    ):
        odd.labels(value, str(n)).set(n / 3)
    Gauge("alone", "no labels", registry=registry).set(float("inf"))
    page = generate_latest(registry).decode()
    assert dict(Counters.parse(page).items()) == {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    "line", ["lookups_total", "lookups_total{ 1", "lookups_total 1 1700000000000", "a b c", "<p>"]
)
def test_what_is_no_series_with_a_value_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several sources
        Counters.parse(f"{line}\n")
