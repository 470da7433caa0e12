"""The benchmark's figures as tables."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.arms import FLOOR
from benchmarks.bars import Judged, judge
from benchmarks.codecs import LITELLM
from benchmarks.run import BenchResult
from benchmarks.statistics import Rounds, Summary, figure, ratio
from harness.report.numbers import NOT_MEASURED, TIMES
from harness.report.table import Cell, Row, Table, Tone, cells, columns

_FINE, _COARSE = 10, 100
_TONES: Mapping[str, Tone] = {"held": "healthy", "missed": "broken", "undecided": "wasteful"}


def tables(measured: BenchResult) -> list[Table]:
    """What was measured, bars first; groups that were not selected are absent."""
    rounds = measured.rounds
    found = [bars_table(judge(rounds))]
    if measured.arms:
        found.append(requests_table(measured))
    if figure(rounds, f"codecs.{LITELLM}.encode_us"):
        found.append(codecs_table(rounds, measured.refusing))
    if figure(rounds, "replicas.start_s"):
        found.append(start_table(rounds))
    return found


def bars_table(judged: list[Judged]) -> Table:
    """Each bar: measured, limit, held or missed, and how far the floor is."""
    rows = []
    for one in judged:
        unit = TIMES if one.bar.unit == "x" else f" {one.bar.unit}"
        above = one.above_floor
        fields = (
            Cell(f"{_number(one.measured.median)}{unit}"),
            Cell(_interval(one.measured)),
            Cell(f"{one.bar.limit:g}{unit}"),
            Cell(one.state, tone=_TONES[one.state]),
            Cell(NOT_MEASURED if one.floor is None else f"{_number(one.floor)}{unit}"),
            Cell(NOT_MEASURED if above is None else f"{_number(above)}{TIMES}"),
        )
        rows.append(Row(Cell(one.bar.title), fields))
    return Table(
        "bars",
        "Bars: CPU per request and call, start, memory",
        "",
        columns(("median", "interval", "bar", "", "floor", "above it")),
        tuple(rows),
        "A ratio is taken in each round. The interval of the median over the rounds decides; it "
        "needs five rounds, and where it crosses a bar, more of them.",
        code=False,
    )


def requests_table(measured: BenchResult) -> Table:
    """CPU per request by arm: server, its distance to the floor, and the servers behind it."""
    rows = []
    for arm in measured.arms:
        cpu = f"{arm.name}.cpu_us"
        over = ratio(measured.rounds, cpu, f"{FLOOR}.cpu_us")
        rest = ("redis_cpu_us", "postgres_cpu_us", "client_cpu_us", "requests_per_s")
        found = figure(measured.rounds, cpu)
        rows.append(
            Row(
                Cell(arm.title),
                cells(
                    (
                        _median(found),
                        _range(found),
                        f"{_median(over)}{TIMES}",
                        *(_median(figure(measured.rounds, f"{arm.name}.{name}")) for name in rest),
                    )
                ),
                reference=arm.name == FLOOR,
            )
        )
    where = "server on one core, load and servers behind it on another"
    return Table(
        "requests",
        "CPU per request of one worker, in microseconds (recommended, a team key)",
        "",
        columns(("server", "range", "/ floor", "Valkey", "Postgres", "load", "req/s")),
        tuple(rows),
        f"{where if measured.pinned else 'nothing is pinned'}; req/s belongs to this machine.",
        code=False,
    )


def codecs_table(rounds: Rounds, refusing: list[str]) -> Table:
    """Encode, decode and payload of every codec, LiteLLM's way first."""
    mark = ".encode_us"
    names = sorted(
        name.removeprefix("codecs.").removesuffix(mark)
        for name in {name for each in rounds for name in each}
        if name.startswith("codecs.") and name.endswith(mark)
    )
    names.sort(key=lambda name: name != LITELLM)
    rows = []
    for name in names:
        fields = [_median(figure(rounds, f"codecs.{name}.bytes"))]
        for operation in ("encode_us", "decode_us"):
            base = f"codecs.{LITELLM}.{operation}"
            found = figure(rounds, f"codecs.{name}.{operation}")
            over = ratio(rounds, f"codecs.{name}.{operation}", base)
            fields += [_median(found), f"{_median(over)}{TIMES}"]
        head = "LiteLLM's way" if name == LITELLM else name
        rows.append(Row(Cell(head), cells(fields), reference=name == LITELLM))
    note = f"These encode no key: {', '.join(refusing)}." if refusing else ""
    return Table(
        "codecs",
        "One key object of LiteLLM's size, 56 fields set; CPU microseconds of one call",
        "codec",
        columns(("bytes", "encode", "/ LiteLLM's", "decode", "/ LiteLLM's")),
        tuple(rows),
        note,
    )


def start_table(rounds: Rounds) -> Table:
    """Eight replicas: start, memory, and the generator's share of the CPU."""
    titles = {
        "start_s": "start to all ready, s",
        "rss_mib": "resident memory, MiB",
        "pss_mib": "proportional share, MiB",
        "generator_share": "generator's share of CPU",
        "generator_cpu_us": "generator's CPU per request, us",
        "replica_cpu_us": "replicas' CPU per request, us",
    }
    rows = []
    for name, title in titles.items():
        ours, bare = (figure(rounds, f"{step}.{name}") for step in ("replicas", "bare"))
        fields = (_median(ours), _range(ours), _median(bare))
        rows.append(Row(Cell(title), cells(fields)))
    return Table(
        "start",
        "8 replicas of recommended, their servers being up; then Locust at 200 requests/s",
        "",
        columns(("median", "range", "8 raw handlers")),
        tuple(rows),
        code=False,
    )


def _median(found: Summary | None) -> str:
    return NOT_MEASURED if found is None else _number(found.median)


def _range(found: Summary | None) -> str:
    return NOT_MEASURED if found is None else f"{_number(found.low)}-{_number(found.high)}"


def _interval(found: Summary) -> str:
    if found.median_low is None or found.median_high is None:
        return NOT_MEASURED
    return f"{_number(found.median_low)}-{_number(found.median_high)}"


def _number(value: float) -> str:
    if value >= _COARSE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _FINE else f"{value:.2f}"
