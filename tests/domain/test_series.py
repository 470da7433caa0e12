"""Names of series are written in one place, which a release's environment can import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from harness.domain import series
from harness.exporter.families import render
from harness.exporter.state import RunState
from harness.targets.metrics import Metrics

ROOT = Path(__file__).parents[2]
PLACES = ("harness", "tools", "benchmarks")
NAMES = {
    value
    for name, value in vars(series).items()
    if name.isupper() and str(value).startswith(("authcache_", "http_"))
}
WRITTEN_ONCE = {*NAMES, series.CHAT_ROUTE, series.MODELS_ROUTE}


def test_no_other_module_writes_out_a_name_or_a_route() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for place in PLACES
        for path in sorted((ROOT / place).rglob("*.py"))
        if path != Path(series.__file__)
        if any(
            name.removesuffix("_total") in path.read_text(encoding="utf-8") for name in WRITTEN_ONCE
        )
        for line, text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if any(_writes_out(text, name) for name in WRITTEN_ONCE)
    ]
    assert found == []


def test_a_name_in_a_query_and_the_family_of_a_counter_count_as_written_out() -> None:
    assert _writes_out('rate(authcache_lookups_total{tier="redis"}[4s])', series.LOOKUPS)
    assert _writes_out("authcache_lookups", series.LOOKUPS)
    assert not _writes_out("authcache_lookups_by_day", series.LOOKUPS)


def _writes_out(text: str, name: str) -> bool:
    """Whether a text has a name, with or without ``_total``, as a word of its own."""
    words = "".join(c if c.isalnum() or c in "_/" else " " for c in text).split()
    return name in words or name.removesuffix("_total") in words


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of a module but docstrings, with its line."""
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_workers_and_the_exporter_show_these_families_and_no_others() -> None:
    worker, _ = Metrics("v", {"version": "1"}).render()
    state = RunState.planned({"v": 1}, {"v": {series.ALL: 1.0}}, [("v", "measured", 1)])
    exporter, _ = render(state.metrics())
    shown = {
        family.name
        for page in (worker, exporter)
        for family in text_string_to_metric_families(page.decode())
    }
    asked_of_servers = {
        series.STATEMENT_CALLS,
        series.STATEMENT_SECONDS,
        series.REDIS_KEYSPACE,
        series.REDIS_COMMANDS,
        series.REDIS_MEMORY,
        series.SERVER_UP,
    }
    releases_only = {
        series.INSTRUMENTED,
        series.INSTRUMENT_ERRORS,
        series.INSTRUMENT_ERROR_TYPES,
        series.BACKFILL_TTL,
        series.ORIGIN_INFO,
    }
    with_redis_only = {series.REDIS_SENT}
    of_two_variants_only = {series.FAILED_BY_WRITER}
    expected = NAMES - asked_of_servers - releases_only - with_redis_only - of_two_variants_only
    assert shown == {name.removesuffix("_total") for name in expected}


def test_it_imports_nothing_that_a_releases_environment_may_lack() -> None:
    script = (
        "import sys; before = set(sys.modules); import harness.domain.series\n"
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before}"
        " - sys.stdlib_module_names - {'harness'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
