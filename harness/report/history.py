"""The history of a defect: one run over several releases, one row per release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from packaging.version import Version

from harness.analysis import rounds
from harness.analysis.spend import users_cost_micro
from harness.authcache.words import KeyScope, ObjectKind
from harness.domain.result import Result, VariantResult, in_order
from harness.domain.series import ALL
from harness.errors import UsageError
from harness.report.freshness import slowest_cell, untested
from harness.report.instrumented import not_instrumented, noted
from harness.report.matrix import SCOPE_NOTES, rounds_text, scopes_of, worst
from harness.report.numbers import MINUS, NOT_MEASURED, plain, rate, share
from harness.report.table import Cell, Column, Row, Table
from harness.targets.registry import is_release_name

FAILING = (KeyScope.SHARED_ID, KeyScope.MEMBER)
"""The scopes in which releases have failed; see docs/releases.md."""


class ReleaseRow(NamedTuple):
    """One release of a run. ``name`` is the variant's; tables show ``version``."""

    version: str
    name: str
    variant: VariantResult


@dataclass(frozen=True, slots=True)
class _Field:
    """One column, and the cell of a release in it."""

    column: Column
    cell: Callable[[ReleaseRow], Cell]


def releases_of(result: Result) -> list[ReleaseRow]:
    """The releases of a run that have a measured window, oldest first."""
    found = {
        Version(name.partition("==")[2]): name for name in result.variants if is_release_name(name)
    }
    return [ReleaseRow(str(v), found[v], result.variants[found[v]]) for v in sorted(found)]


def require_releases(result: Result) -> None:
    """Raise UsageError if a run has no release."""
    if not releases_of(result):
        raise UsageError(
            f"The run [{result.run_id}] has no measured release, only "
            f"[{', '.join(result.variants) or 'nothing'}]. `harness history` runs releases."
        )


def log_pairs(variant: VariantResult, scope: str) -> float | None:
    """Log pairs per 1,000 answered requests of a scope.

    None without requests, and if they could not be seen.
    """
    return rounds.of_all(variant, scope, lambda w: rounds.log_pairs(w, scope))


def source_reads(variant: VariantResult, scope: str, kind: str) -> float | None:
    """Reads of an object per 1,000 answered requests of a scope."""
    return rounds.of_all(variant, scope, lambda w: rounds.source_reads(w, scope, kind))


def history_table(result: Result) -> Table:
    """One row per release."""
    releases = releases_of(result)
    fields = _fields(result)
    return Table(
        "history",
        "Releases of LiteLLM, oldest first",
        "release",
        tuple(field.column for field in fields),
        tuple(
            Row(Cell(r.version, r.variant.title), tuple(field.cell(r) for field in fields))
            for r in releases
        ),
        "Log pairs and source reads are per 1,000 answered requests, "
        f"{rounds_text(result)} together; reads without a scope are those of all scopes together. "
        "Backfill TTL: how long a value read from Redis stays in memory. User spend lost: the cost "
        "of the users' replies that Postgres did not record, as a share of that cost.",
    )


def remarks(result: Result) -> list[str]:
    """What a reader of the table must know about each release, one line each."""
    releases = {name: variant for _, name, variant in releases_of(result)}
    return not_instrumented(result.model_copy(update={"variants": releases}))


def _fields(result: Result) -> list[_Field]:
    scopes = scopes_of(result)
    failing = [scope for scope in FAILING if scope in scopes]
    fields = [_Field(_cell_column(scope), _cell_of(scope)) for scope in scopes]
    fields += [_Field(Column(f"log pairs, {scope}"), _pairs_of(scope)) for scope in failing]
    fields += [_Field(Column(f"{kind} reads"), _reads_of(ALL, kind)) for kind in ObjectKind]
    if KeyScope.SHARED_ID in scopes:
        column = Column(f"user reads, {KeyScope.SHARED_ID}")
        fields.append(_Field(column, _reads_of(KeyScope.SHARED_ID, ObjectKind.USER)))
    if KeyScope.MEMBER in scopes:
        fields.append(_Field(Column(f"status, {KeyScope.MEMBER}"), _statuses_of(KeyScope.MEMBER)))
    return [
        *fields,
        _Field(
            Column("key payload, bytes"),
            _seen(lambda r: rate(r.variant.payload_bytes.get("key")), "payload_bytes"),
        ),
        _Field(Column("backfill TTL, s"), _seen(lambda r: _backfill(r.variant), "backfill_ttl")),
        _Field(Column("user spend lost"), _seen(lambda r: _lost(result, r), "spend_drift")),
        *([_Field(Column("slowest action"), _slowest_of(result))] if result.freshness else []),
    ]


def _slowest_of(result: Result) -> Callable[[ReleaseRow], Cell]:
    return lambda release: slowest_cell(result.freshness.get(release.name, {}))


def _seen(text: Callable[[ReleaseRow], str], measure: str) -> Callable[[ReleaseRow], Cell]:
    return lambda release: noted(Cell(text(release)), release.variant, measure)


def _cell_column(scope: str) -> Column:
    return Column(scope, SCOPE_NOTES.get(scope, ""), numeric=False)


def _cell_of(scope: str) -> Callable[[ReleaseRow], Cell]:
    def cell(release: ReleaseRow) -> Cell:
        cells = release.variant.cells.get(scope)
        if cells:
            return worst(cells, untested=untested(release.variant, scope))
        return noted(Cell(NOT_MEASURED, tone="quiet"), release.variant, "cells")

    return cell


def _pairs_of(scope: str) -> Callable[[ReleaseRow], Cell]:
    return _seen(lambda release: rate(log_pairs(release.variant, scope)), "log_pairs")


def _reads_of(scope: str, kind: str) -> Callable[[ReleaseRow], Cell]:
    measure = "source_reads" if scope == ALL else "source_reads_by_scope"
    return _seen(lambda release: rate(source_reads(release.variant, scope, kind)), measure)


def _statuses_of(scope: str) -> Callable[[ReleaseRow], Cell]:
    def cell(release: ReleaseRow) -> Cell:
        statuses = release.variant.requests.get(scope, {})
        whole = sum(statuses.values())
        most_first = sorted(statuses.items(), key=lambda item: (-item[1], item[0]))
        lines = [f"{status}: {share(n, whole)}" for status, n in most_first if n]
        return Cell("\n".join(lines) or NOT_MEASURED)

    return cell


def _backfill(variant: VariantResult) -> str:
    by_object = {kind: plain(ttl) for kind, ttl in variant.backfill_ttl_s.items()}
    texts = set(by_object.values())
    if len(texts) <= 1:
        return texts.pop() if texts else NOT_MEASURED
    return "\n".join(f"{kind} {by_object[kind]}" for kind in in_order(by_object, ObjectKind))


def _lost(result: Result, release: ReleaseRow) -> str:
    lost = release.variant.spend_drift_micro.get(ObjectKind.USER)
    cost = users_cost_micro(result, release.name)
    if lost is None or not cost:
        return NOT_MEASURED
    return share(lost, cost) if lost >= 0 else f"{MINUS}{share(-lost, cost)}"
