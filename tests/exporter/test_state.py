from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from harness.domain.changes import ACTIONS
from harness.exporter.families import counter, merge, render
from harness.exporter.state import GeneratorCount, RunState
from harness.observe.counters import Counters


def _page(state: RunState) -> Counters:
    body, _ = render(state.metrics())
    return Counters.parse(body.decode())


def _state() -> RunState:
    return RunState.planned(
        {"a": 3, "b": 2},
        {"a": {"team": 40.0, "all": 41.0}, "b": {"team": 40.0, "all": 45.5}, "c": {}},
        [("a", "warmup", 1), ("a", "measured", 1), ("b", "measured", 1), ("a", "measured", 1)],
    )


def test_before_anything_happens_every_series_is_there_at_0() -> None:
    page = _page(_state())
    assert page.sum("authcache_replicas_expected", variant="a") == 3
    assert page.sum("authcache_reference_line_per_1000", variant="b", key_scope="all") == 45.5
    values = dict(page.items())
    at_zero = {name for (name, _), value in values.items() if value == 0}
    assert at_zero == {
        "authcache_window_active",
        "authcache_generator_planned_total",
        "authcache_generator_late_total",
        "authcache_generator_max_delay_seconds",
        "authcache_generator_requests_total",
        "authcache_changes_total",
        "authcache_stale_served_total",
    }
    changes = {labels for (name, labels), _ in page.items() if name == "authcache_changes_total"}
    assert len(changes) == 2 * len(ACTIONS)
    stale = [labels for (name, labels), _ in page.items() if name == "authcache_stale_served_total"]
    assert len(set(stale)) == 2 * 4 * 4, "variants, key scopes, objects"
    stretches = [labels for (name, labels), _ in page.items() if name == "authcache_window_active"]
    assert len(stretches) == 3, "a stretch that is planned twice is one series"
    scopes = {
        dict(labels)["key_scope"]
        for (name, labels), _ in page.items()
        if name == "authcache_generator_requests_total"
    }
    assert scopes == {"team", "user", "shared_id", "member"}


def test_a_window_is_active_from_its_beginning_to_its_end() -> None:
    state = _state()
    state.began("a", "measured", 1)
    assert _page(state).by("authcache_window_active", "variant", "phase", "round") == {
        ("a", "measured", "1"): 1
    }
    state.ended("a", "measured", 1)
    assert _page(state).by("authcache_window_active", "variant") == {}


def test_an_exporter_that_no_run_has_told_anything_shows_freshness_at_0() -> None:
    names = [name for (name, _), _ in _page(RunState(generator={"a": GeneratorCount()})).items()]
    assert names.count("authcache_changes_total") == len(ACTIONS)
    assert names.count("authcache_stale_served_total") == 4 * 4


def test_changes_and_stale_replies_add_up_by_their_labels() -> None:
    state = _state()
    for action in ("team-block", "team-block", "key-delete"):
        state.changed("a", action)
    state.served_stale("a", "member", "team", 3)
    state.served_stale("a", "member", "team", 4)
    page = _page(RunState.model_validate_json(state.model_dump_json()))
    assert page.by("authcache_changes_total", "variant", "action") == {
        ("a", "team-block"): 2,
        ("a", "key-delete"): 1,
    }
    assert page.by("authcache_stale_served_total", "variant", "key_scope", "object") == {
        ("a", "member", "team"): 7
    }


def test_a_stretch_that_was_not_planned_shows_too() -> None:
    state = _state()
    state.began("c", "measured", 7)
    assert _page(state).sum("authcache_window_active", variant="c", round="7") == 1


def test_what_a_window_counts_is_seen_while_it_runs_and_once_when_it_is_over() -> None:
    state = _state()
    for number in (1, 2):
        state.began("a", "measured", number)
        state.counted("a", GeneratorCount(planned=60, requests={"team": {"200": 40}}))
        state.counted(
            "a",
            GeneratorCount(
                planned=100, late=2, max_delay_s=0.5, requests={"team": {"200": 90, "429": 8}}
            ),
        )
        for _ in range(2):
            page = _page(state)
            assert page.sum("authcache_generator_planned_total", variant="a") == 100 * number
            assert page.sum("authcache_generator_late_total", variant="a") == 2 * number
            assert page.sum("authcache_generator_max_delay_seconds", variant="a") == 0.5
            assert page.by("authcache_generator_requests_total", "status", variant="a") == {
                ("200",): 90 * number,
                ("429",): 8 * number,
            }
            state.ended("a", "measured", number)
    assert _page(state).sum("authcache_generator_planned_total", variant="b") == 0


counts = st.builds(
    GeneratorCount,
    planned=st.integers(0, 1000),
    late=st.integers(0, 1000),
    requests=st.dictionaries(
        st.sampled_from(["team", "user"]),
        st.dictionaries(st.sampled_from(["200", "401", "503"]), st.integers(0, 1000)),
    ),
)


@given(st.lists(st.lists(counts, min_size=1, max_size=3), max_size=4))
def test_counters_never_fall_at_the_end_of_a_window(windows: list[list[GeneratorCount]]) -> None:
    state = _state()
    for number, progress in enumerate(windows):
        state.began("a", "measured", number)
        for count in progress:
            state.counted("a", count)
        before = _page(state)
        state.ended("a", "measured", number)
        after = _page(state)
        assert after.fallen(before) == []
        assert after.sum("authcache_generator_planned_total") == before.sum(
            "authcache_generator_planned_total"
        )


@given(st.lists(counts, max_size=3))
def test_a_state_survives_the_way_to_another_exporter(progress: list[GeneratorCount]) -> None:
    state = _state()
    state.began("b", "measured", 1)
    for count in progress:
        state.counted("b", count)
    again = RunState.model_validate_json(state.model_dump_json())
    assert again == state
    assert render(again.metrics()) == render(state.metrics())


def test_a_page_with_a_family_twice_is_refused() -> None:
    family = merge([counter("x", "text", {("a",): 1})])
    with pytest.raises(ValueError, match="twice"):
        render([family, family])


def test_every_family_has_a_help_text_and_the_prefix() -> None:
    body, content_type = render(_state().metrics())
    assert content_type.startswith("text/plain")
    for family in text_string_to_metric_families(body.decode()):
        assert family.documentation.endswith(".")
        assert family.name.startswith("authcache_")
