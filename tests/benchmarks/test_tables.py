"""What a benchmark says: tables, JSON, and whether it is a regression."""

from __future__ import annotations

import io
import json
import platform
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.arms import QUICK, arms
from benchmarks.bars import judge
from benchmarks.options import Options
from benchmarks.report import as_json, finish
from benchmarks.run import BenchResult
from benchmarks.tables import bars_table, codecs_table, requests_table, start_table, tables
from harness.report.numbers import NOT_MEASURED, TIMES
from harness.report.table import Table

ROUND = {
    "floor.cpu_us": 25.0,
    "memory.cpu_us": 40.0,
    "memory_uncounted.cpu_us": 39.0,
    "redis.cpu_us": 100.0,
    "redis.redis_cpu_us": 12.34,
    "postgres.cpu_us": 500.0,
    "codecs.litellm.encode_us": 30.0,
    "codecs.litellm.decode_us": 20.0,
    "codecs.litellm.bytes": 2375.0,
    "codecs.msgspec.encode_us": 3.0,
    "codecs.msgspec.decode_us": 5.0,
    "codecs.msgspec.bytes": 1240.0,
    "replicas.start_s": 2.0,
    "bare.start_s": 0.5,
    "replicas.rss_mib": 440.0,
}


def measured(*rounds: dict[str, float]) -> BenchResult:
    """A benchmark with these rounds."""
    return BenchResult(
        Options(rounds=len(rounds)),
        rounds=list(rounds),
        load_averages=[1.5] * len(rounds),
        arms=arms(QUICK),
        refusing=["raw"],
    )


def row(table: Table, head: str) -> list[str]:
    """The fields of a row, its signs as they are typed."""
    found = next(one for one in table.rows if one.head.text == head)
    return [cell.text.replace(TIMES, "x").replace(NOT_MEASURED, "-") for cell in found.cells]


def test_a_bar_that_is_missed_is_said_to_be() -> None:
    table = bars_table(judge([ROUND] * 5))

    assert row(table, "memory answers / raw handler") == [
        *("1.60x", "1.60-1.60", "1.8x", "held", "1.00x", "1.60x")
    ]
    assert row(table, "Postgres answers / raw handler")[:4] == [
        *("20.0x", "20.0-20.0", "16x", "missed")
    ]
    assert row(table, "8 replicas, start to all ready") == [
        *("2.00 s", "2.00-2.00", "5 s", "held", "0.50 s", "4.00x")
    ]
    assert row(table, "encode, msgspec / LiteLLM's way")[-2:] == ["-", "-"]


def test_requests_stand_beside_their_servers_and_the_floor() -> None:
    table = requests_table(measured(ROUND, ROUND | {"redis.cpu_us": 150.0}))

    redis = row(table, "Redis answers")
    assert redis[:4] == ["125", "100-150", "5.00x", "12.3"]
    assert row(table, "memory, spend on")[0] == "-"
    assert [one.head.text for one in table.rows if one.reference] == ["raw ASGI handler"]


def test_codecs_are_compared_with_litellms_way() -> None:
    table = codecs_table([ROUND], ["raw"])

    assert [one.head.text for one in table.rows] == ["LiteLLM's way", "msgspec"]
    assert row(table, "msgspec") == ["1,240", "3.00", "0.10x", "5.00", "0.25x"]
    assert "raw" in table.foot


def test_the_start_stands_beside_that_of_bare_handlers() -> None:
    assert row(start_table([ROUND]), "start to all ready, s") == ["2.00", "2.00-2.00", "0.50"]


def test_what_was_not_asked_for_has_no_table() -> None:
    some = BenchResult(Options(), rounds=[{"replicas.start_s": 1.0}])

    assert [table.name for table in tables(some)] == ["bars", "start"]
    assert [table.name for table in tables(measured(ROUND))] == [
        *("bars", "requests", "codecs", "start")
    ]


def test_the_json_has_every_round() -> None:
    result = as_json(measured(ROUND, ROUND | {"memory.cpu_us": 44.0}, {"floor.cpu_us": 1.0}))

    json.dumps(result)
    assert result["figures"]["memory.cpu_us"] == {
        "median": 42.0,
        "low": 40.0,
        "high": 44.0,
        "rounds": 2,
        "median_low": None,
        "median_high": None,
        "by_round": [40.0, 44.0, None],
    }
    assert result["bars"][0]["rounds"] == 2
    assert result["load_averages"] == [1.5] * 3
    assert str(Path.cwd()) not in json.dumps(result)


@pytest.mark.parametrize(
    ("before", "during", "quiet"),
    [(0.4, [1.9, 2.8], True), (0.6, [1.9, 2.8], False), (0.4, [3.1, 2.8], False)],
)
def test_the_output_says_what_the_ratios_hold_for(
    before: float, during: list[float], quiet: bool, tmp_path: Path
) -> None:
    one = measured(ROUND, ROUND)
    one.load_before, one.load_averages = before, during
    out = io.StringIO()

    finish(one, Console(file=out, width=400), tmp_path / "out.json")

    said = " ".join(out.getvalue().split())
    assert f"Python {platform.python_version()}" in said
    assert f"{before} before, {max(during)} at most during, {during[-1]} at the end" in said
    assert ("the machine was not quiet" in said) is not quiet
    assert ("a quiet machine" in said) is quiet
    assert json.loads((tmp_path / "out.json").read_text())["quiet"] is quiet


def test_a_missed_bar_is_a_regression(tmp_path: Path) -> None:
    console = Console(file=(tmp_path / "out").open("w"), width=100)
    good = {**ROUND, "postgres.cpu_us": 300.0}

    assert finish(measured(*[good] * 5), console, tmp_path / "good.json") == 0
    assert finish(measured(*[good] * 4), console, tmp_path / "few.json") == 3
    assert finish(measured(*[ROUND] * 5), console, tmp_path / "new" / "bad.json") == 1

    bars = json.loads((tmp_path / "new" / "bad.json").read_text())["bars"]
    assert bars[2]["state"] == "missed"


def test_a_benchmark_without_a_whole_round_has_nothing_to_show(tmp_path: Path) -> None:
    console = Console(file=(tmp_path / "out").open("w"), width=100)

    assert finish(BenchResult(Options()), console, tmp_path / "none.json") == 3

    assert not (tmp_path / "none.json").exists()
