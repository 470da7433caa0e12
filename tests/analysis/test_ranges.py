from __future__ import annotations

import pytest

from harness.analysis.expectations import applicable
from harness.scenario.loader import load_scenario
from harness.scenario.schema import CellExpectation, LimitExpectation
from harness.targets.litellm.releases import covers

EXPECT = load_scenario("issue-27874").expect


def _cells(variant: str, *, premises: bool = True) -> dict[str, str | None]:
    found = applicable(EXPECT, [variant], premises=premises)
    return {e.scope: e.is_ for e in found if isinstance(e, CellExpectation)}


@pytest.mark.parametrize(
    ("name", "variant", "meant"),
    [
        ("litellm>=1.84.0rc1,<1.89", "litellm==1.84.0rc1", True),
        ("litellm>=1.84.0rc1,<1.89", "litellm==1.88.6", True),
        ("litellm>=1.84.0rc1,<1.89", "litellm==1.83.14", False),
        ("litellm>=1.84.0rc1,<1.89", "litellm==1.89.0", False),
        ("litellm>=1.91", "litellm==1.109.1", True),
        ("litellm>=1.91", "recommended", False),
        ("litellm>=1.91", "litellm_1_91", False),
        ("litellm_1_91", "litellm_1_91", True),
        ("litellm==1.94.0", "litellm==1.94.0", True),
    ],
)
def test_a_range_means_the_releases_within_it(name: str, variant: str, meant: bool) -> None:
    assert covers(name, variant) is meant


def test_the_scenario_says_what_each_release_must_show() -> None:
    stale = {"team": "stale", "user": "stale"}
    assert _cells("litellm==1.84.0rc1") == {**stale, "shared_id": "broken", "member": "broken"}
    assert _cells("litellm==1.90.0") == {**stale, "shared_id": "broken", "member": "stale"}
    assert _cells("litellm==1.91.0") == {**stale, "shared_id": "stale", "member": "stale"}
    healthy = {"team": "healthy", "user": "healthy"}
    assert _cells("litellm==1.83.14") == stale
    assert _cells("litellm==1.96.2") == {**healthy, "shared_id": "healthy", "member": "healthy"}
    assert _cells("litellm==1.109.1", premises=False) == _cells("litellm==1.96.2")


def test_an_expectation_of_a_range_is_held_under_the_releases_name() -> None:
    names = ["litellm==1.93.0", "litellm==1.94.0", "recommended"]
    found = applicable(EXPECT, names, premises=True)
    assert {e.variant for e in found} == set(names)


def test_a_bound_in_seconds_scales_with_time_and_no_other_does() -> None:
    expect = load_scenario("slow-source").expect
    found = applicable(expect, ["recommended"], premises=True, time_scale=0.5)
    bounds = {e.metric: (e.min, e.max) for e in found if isinstance(e, LimitExpectation)}
    assert bounds == {
        "entry_age_max_s": (None, 3.0),
        "source_reads_over_reference_line": (0.6, 1.1),
    }
