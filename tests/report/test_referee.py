"""The referee's files: what was measured, and nothing of the plan besides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from harness.analysis.referee import Count, OneSided, Ruling, referee
from harness.domain.result import LoadSettings, Result
from harness.report.referee import (
    BENCH,
    BENCHER,
    COMMENT,
    PROOF,
    RULING,
    Match,
    print_ruling,
    referee_files,
)
from tests.analysis.test_referee import BASE, HEAD, pair
from tests.report.sample import refused

MATCH = Match(BASE, HEAD, "litellm==1.92.2", "litellm==1.94.0", "harness referee")
LOAD = LoadSettings(rate_per_s=60, seed=1, rounds=2, window_ttls=3, population={"team": 1})
INVALID = {"verdict": "invalid", "exit_code": 4, "reasons": ["The generator was late."]}


def texts(result: Result) -> Mapping[str, str]:
    return referee_files(ruling(result), result, MATCH)


def ruling(result: Result) -> Ruling:
    return referee(result, BASE, HEAD)


def cut_short(result: Result, rounds: Mapping[str, int]) -> Result:
    """The first rounds of a run that was stopped; a side without any is absent."""
    variants = {
        name: result.variants[name].model_copy(
            update={"windows": result.variants[name].windows[:n]}
        )
        for name, n in rounds.items()
    }
    ended = {"verdict": "interrupted", "exit_code": 130, "complete": False, "reasons": ["Stopped."]}
    return result.model_copy(update={"variants": variants, **ended})


def test_the_load_and_the_rounds_are_those_that_were_measured() -> None:
    files = texts(pair().model_copy(update={"load": LOAD}))
    for name in (PROOF, COMMENT):
        assert "4 rounds of each side, in turn at 60 requests/s, " in files[name]


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ({BASE: 2, HEAD: 2}, "2 rounds of each side, in turn"),
        ({BASE: 2, HEAD: 1}, "2 rounds of the base, 1 round of the head, in turn"),
        ({BASE: 1}, "1 round of the base, 0 rounds of the head, in turn"),
    ],
)
def test_a_run_that_was_cut_short_says_what_it_has_of_each_side(
    rounds: Mapping[str, int], said: str
) -> None:
    files = texts(cut_short(pair(), rounds))
    for name in (PROOF, COMMENT):
        assert said in files[name]
        assert "cut short" in files[name]


@pytest.mark.parametrize("reads", [999.5, 999.97, 1234.0])
def test_no_figure_has_an_exponent_of_thousands(reads: float) -> None:
    result = pair()
    found = ruling(result)
    (line,) = [x for x in found.lines if (x.rule.label, x.place) == ("source reads", "team")]
    assert isinstance(line.head, Count)
    head = replace(line.head, events=reads, requests=1000, parts=())
    only = OneSided("head", "SELECT LiteLLM_TagTable", reads)
    found = replace(found, lines=(replace(line, head=head, judged_from=reads),), only=(only,))
    out = StringIO()
    print_ruling(found, result, MATCH, Console(file=out, width=1000))
    files = referee_files(found, result, MATCH)
    for text in (out.getvalue(), *files.values()):
        assert "e+" not in text
    assert json.loads(files[BENCH])[0]["range"] == f"± {reads:,.0f}"


@pytest.mark.parametrize("changes", [{}, {"too_slow": [HEAD], "sustained_per_s": {HEAD: 3.0}}])
def test_of_a_run_that_measured_nothing_no_load_is_reported(changes: Mapping[str, Any]) -> None:
    nothing = refused().model_copy(update={"premises": [], "load": LOAD, **changes})
    files = texts(nothing)
    out = StringIO()
    print_ruling(ruling(nothing), nothing, MATCH, Console(file=out, width=1000))

    assert set(files) == {PROOF, COMMENT, RULING}
    for text in (files[PROOF], files[COMMENT], out.getvalue()):
        assert "Nothing was measured" in text
        for word in ("60 requests/s", "in turn", "round", "mock", "<details>", "figures prove"):
            assert word not in text


def test_where_nothing_was_judged_there_is_no_series_for_ci() -> None:
    assert {BENCH, BENCHER} <= set(texts(pair()))
    invalid = texts(pair().model_copy(update=INVALID))
    assert set(invalid) == {PROOF, COMMENT, RULING}
    assert "4 rounds of each side" in invalid[PROOF], "it was driven all the same"
