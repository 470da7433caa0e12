from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from harness.targets.counters import CounterFamily, Gauge, Histograms
from harness.targets.metrics import Metrics
from harness.targets.page import PageWriter

BUILD = {"codec": "c", "layout": 'odd "layout"\\', "target": "t\n", "version": "1"}


def _registry(
    labels: Sequence[str], numbers: Sequence[int], seen: Sequence[float]
) -> CollectorRegistry:
    registry = CollectorRegistry()
    counters = CounterFamily(
        registry, "authcache_things", 'What "things"\\ are.\n', ("name", "variant")
    )
    for place, (label, number) in enumerate(zip(labels, numbers, strict=True)):
        counters.table({place: (label, "v")})[place] = number
    table = Histograms(registry, "authcache_seconds", "Time.", ("op",), (0.1, 1)).table({0: ("x",)})
    for value in seen:
        table[0].observe(value)
    Gauge(registry, "authcache_pending", "Now.", {"variant": "v"}, value=sum(numbers))
    return registry


texts = st.text(max_size=8)


@given(
    st.dictionaries(texts, st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)), max_size=5),
    st.lists(st.floats(0, 1e9), max_size=5),
)
def test_it_writes_what_the_library_writes_at_first_and_later(
    counts: dict[str, tuple[int, int]], seen: list[float]
) -> None:
    writer = PageWriter()
    labels = list(counts)
    for round_ in (0, 1):
        registry = _registry(labels, [pair[round_] for pair in counts.values()], seen[round_:])
        assert writer.write(registry.collect()) == generate_latest(registry)


def test_a_workers_page_is_the_librarys() -> None:
    metrics = Metrics("litellm==1.84.0rc1", BUILD)
    for _ in range(2):
        metrics.request_started()
        metrics.redis_get("lookup")
        assert metrics.render()[0] == generate_latest(metrics.registry)


def test_two_families_may_have_the_same_labels() -> None:
    registry = CollectorRegistry()
    for name in ("a", "b"):
        Gauge(registry, name, "-", {"variant": "v"}, value=1)
    writer = PageWriter()
    for _ in range(2):
        assert writer.write(registry.collect()) == generate_latest(registry)
