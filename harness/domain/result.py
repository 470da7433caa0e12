"""The schema of ``result.json``, version 1. Docs: docs/result-schema.md.

Per 1,000 means per 1,000 answered requests of that scope, whatever their status. A scope that
had no request is absent, not 0. A count that is None was not seen. Figures of several rounds are
medians over the rounds, with their range beside them; counts are sums over all measured windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

Cell = Literal["broken", "hidden", "wasteful", "healthy"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Range(_Part):
    """Median and range over the rounds of one variant."""

    median: float
    min: float
    max: float
    rounds: int


class Percentiles(_Part):
    """In ms. A percentile with fewer than ten samples beyond it is None."""

    p50: float | None
    p95: float | None
    p99: float | None


class Latency(_Part):
    """From the intended and from the actual start; in a closed load the two are the same."""

    from_intended: Percentiles
    service: Percentiles
    samples: int


class Window(_Part):
    """One measured stretch of one fleet."""

    name: str
    variant: str
    phase: Literal["cold_fill", "measured"]
    round: int
    """0 for the cold fill."""
    started_s: float
    """Seconds since the start of the run."""
    duration_s: float
    requests: dict[str, dict[str, int]]
    source_reads: dict[str, dict[str, int]] | None
    """By scope and object."""
    source_reads_per_1000: dict[str, float]
    lookups: dict[str, dict[str, int]]
    log_pairs: dict[str, int] | None


class CombinedViewRow(_Part):
    """One row of PR #26202's table: the combined view since the start of the window."""

    variant: str
    window_s: float
    calls: int
    total_ms: float
    avg_ms: float
    rows: int
    expected_calls: float
    """pods x workers x keys x window / TTL: what one read per worker, key and TTL would be."""


class VariantResult(_Part):
    """Everything measured of one variant."""

    target: str
    version: str
    title: str
    switches: dict[str, Any]
    overridden: list[str] = []
    """Switches that the command line changed: the name is not what it says."""
    windows: list[Window]
    cells: dict[str, Cell]
    cell_reasons: dict[str, str]
    """By scope: why the cell is what it is, or why there is none."""
    requests: dict[str, dict[str, int]]
    unexpected_statuses: dict[str, dict[str, int]]
    """By scope: statuses other than the one that Postgres' state calls for."""
    source_reads: int | None
    source_reads_per_1000: dict[str, float]
    source_reads_per_1000_range: dict[str, Range]
    source_reads_per_1000_by_object: dict[str, dict[str, float]]
    reference_line_per_1000: dict[str, float]
    cold_fill_source_reads: int | None = None
    lookups: dict[str, dict[str, int]]
    lookups_by_scope: dict[str, dict[str, dict[str, int]]]
    """By scope, tier and outcome."""
    deserialize_failures: dict[str, dict[str, int]] | None
    """By scope and object."""
    coalesced: dict[str, int]
    log_records: dict[str, int] | None
    log_pairs: dict[str, int] | None
    wrong_values: dict[str, dict[str, int]] | None
    """Objects served whose digest is not Postgres', by scope and object."""
    entry_age_max_s: dict[str, float]
    """Greatest age since the read from Postgres of anything served, by tier."""
    payload_bytes: dict[str, float]
    """Mean encoded size by object."""
    codec_us: dict[str, dict[str, float]]
    """Mean time of one encode and decode by object, in microseconds."""
    spend_drift_micro: dict[str, int]
    """Cost of the answered requests minus what Postgres holds, by object: a finding."""
    latency_ms: Latency
    cpu_ms_per_request: dict[str, float] = {}
    """By group: ``replicas``, ``redis``, ``generator``."""
    hard_coded: list[str] = []
    """What a release fixes and the scenario could not set."""
    backfill_ttl_s: dict[str, float] = {}
    """By object: how long the last entry taken from Redis was to stay in memory; releases only."""
    not_instrumented: list[str] = []
    """Points of a release that could not be wrapped: what is seen through them only is absent or
    None (`harness.analysis.points`)."""


class Equation(_Part):
    """One line of the ledger for one variant. ``residual`` = left - right."""

    name: str
    variant: str
    window: str
    description: str
    left: float | None
    right: float | None
    residual: float | None
    status: Literal["balanced", "unbalanced", "not_checked"]
    kind: Literal["validity", "finding"]
    reason: str = ""


class Ledger(_Part):
    """``balanced``: no validity equation is unbalanced; None where none was checked."""

    balanced: bool | None
    equations: list[Equation]


class Generator(_Part):
    """Health of the load generator over all measured windows."""

    planned: int
    sent: int
    answered: int
    unanswered: dict[str, int]
    late: int
    max_delay_ms: float
    cpu_share: float
    """Of all CPU that generator, replicas and servers used together."""
    replica_share_min: float
    replica_share_max: float
    """Least and most loaded replica's share of the requests, times the number of replicas."""


class ExpectationResult(_Part):
    """One expectation and what was measured."""

    name: str
    variant: str
    scope: str
    measured: str
    limit: str
    passed: bool
    not_instrumented: list[str] = []
    """Points of a release that hid it: then it neither holds nor failed."""

    @property
    def failed(self) -> bool:
        """Whether what was measured is not what is expected."""
        return not self.passed and not self.not_instrumented


class Sizing(_Part):
    """The rule that population and rate follow."""

    scope: str
    keys: int
    objects: int
    requests_per_ttl: float
    requests_per_object: float


class Result(_Part):
    """A whole run."""

    schema_version: Literal[1] = 1
    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    elapsed_s: float
    scenario: str
    title: str
    premises: list[str]
    """In words; empty when nothing is planted."""
    stack: str
    replicas: int
    workers: int
    ttl_s: float
    """After scaling."""
    time_scale: float
    rounds: int
    seed: int
    complete: bool
    """False when the run was interrupted: the windows that it has are whole."""
    verdict: Literal["pass", "regression", "inconclusive", "invalid", "interrupted"]
    exit_code: int
    reasons: list[str]
    """Why the verdict is what it is, most important first."""
    sizing: list[Sizing]
    variants: dict[str, VariantResult]
    combined_view: list[CombinedViewRow] = []
    ledger: Ledger
    generator: Generator
    expectations: list[ExpectationResult]
    observed: list[str] = []
    """Variants without an expectation: neither pass nor fail."""
    notes: list[str] = []
    """Facts that a reader of the numbers needs (settings of the servers, scaling)."""


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names of a result as every table has them: known ones in their order, then others by name."""
    present = set(names)
    head = [name for name in dict.fromkeys(known) if name in present]
    return head + sorted(present - set(head))
