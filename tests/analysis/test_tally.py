"""Windows of one variant added up, from evidence made by hand."""

from __future__ import annotations

import pytest

from harness.analysis.tally import Tally, log_pairs, nested, reads_per_1000, window_result
from harness.authcache.words import ObjectKind
from harness.domain.result import Range
from harness.observe.evidence import Evidence
from tests.observe.build import evidence, series

READS = "authcache_source_reads_total"


def reads(n: int, scope: str = "team", kind: str = "key") -> Evidence:
    """A window of 100 answered requests of the scope ``team`` with so many source reads."""
    one = series(READS, n, key_scope=scope, object=kind, reason="miss")
    return evidence(counted=(one,))


def test_counts_are_summed_by_label_without_zeros() -> None:
    tally = Tally((reads(6), reads(4), reads(0, kind="user")))
    assert tally.by(READS, "key_scope", "object") == {("team", "key"): 10}
    assert tally.by(READS, "object", object="user") == {}
    assert tally.total(READS, key_scope="team") == 10
    assert tally.requests() == {"team": {"200": 300}}
    assert tally.scopes == ["team"]


def test_rates_per_round_are_a_median_with_its_range() -> None:
    tally = Tally((reads(6), reads(2), reads(9)))
    assert tally.per_round("team") == Range(median=60.0, min=20.0, max=90.0, rounds=3)
    assert tally.per_round("team", ObjectKind.USER) == Range(median=0, min=0, max=0, rounds=3)
    assert tally.per_round("member") is None


def test_a_rate_is_a_ratio_of_sums_and_no_median_of_ratios() -> None:
    """Equal counts are an equal figure, however the requests fell into the rounds."""
    few = evidence(
        counted=(series(READS, 4, key_scope="team", object="key", reason="miss"),),
        generator={"statuses": {"team": {"200": 60}}},
    )
    tally = Tally((reads(4), few, few))
    assert tally.reads_per_1000("team") == pytest.approx(12 / 220 * 1000)
    assert tally.reads_per_1000("team", ObjectKind.USER) == 0
    assert tally.reads_per_1000("member") is None
    assert reads_per_1000(reads(6), "all") == pytest.approx(60.0)


def test_a_window_of_the_result_has_its_reads_by_scope_and_object() -> None:
    window = window_result(reads(6))
    assert window.source_reads == {"team": {"key": 6}}
    assert window.source_reads_per_1000 == {"all": 60.0, "team": 60.0}
    assert window.phase == "measured"


def test_a_log_pair_is_counted_by_its_error() -> None:
    counted = tuple(
        series("authcache_log_records_total", n, level=level, signature=signature, key_scope="team")
        for level, signature, n in (
            ("warning", "validation_failed", 7),
            ("error", "typed_read_failed", 5),
            ("error", "encode_failed", 3),
        )
    )
    assert log_pairs([evidence(counted=counted)] * 2) == {"team": 10}


def test_pairs_become_a_table_of_tables() -> None:
    assert nested({("b", "y"): 1, ("a", "x"): 2, ("a", "w"): 3}) == {
        "a": {"w": 3, "x": 2},
        "b": {"y": 1},
    }
