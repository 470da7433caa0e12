"""Test data: a run of scenario pr-26202 that never happened."""

from __future__ import annotations

from dataclasses import replace

from harness.domain.result import CombinedViewRow, Ledger, Result, VariantResult
from tests.report.behaviours import MATRIX, switches
from tests.report.sample import equations, issue_27874, reads_of


def _view_row(variant: str, window_s: float, calls: int, expected: float) -> CombinedViewRow:
    return CombinedViewRow(
        variant=variant,
        window_s=window_s,
        calls=calls,
        total_ms=calls * 0.21,
        avg_ms=0.21,
        rows=calls,
        expected_calls=expected,
    )


def pr_26202() -> Result:
    """The scenario that repeats PR #26202's table; two variants, no premise, no expectation."""
    off = replace(
        MATRIX["litellm_1_84"],
        title="1.84 with Redis off, the default of upstream",
        switches=switches(redis="off"),
    )
    on = MATRIX["litellm_1_84"]
    base = issue_27874({"memory_only": off, "litellm_1_84": on})
    variants = {name: _user_only(variant) for name, variant in base.variants.items()}
    variants["memory_only"] = variants["memory_only"].model_copy(
        update={"lookups": {"memory": variants["memory_only"].lookups["memory"]}}
    )
    return base.model_copy(
        update={
            "run_id": "20260714-111640-pr-26202",
            "scenario": "pr-26202",
            "title": "The table of PR #26202, with arithmetic that adds up",
            "premises": [],
            "replicas": 4,
            "workers": 4,
            "ttl_s": 6.0,
            "time_scale": 0.1,
            "variants": variants,
            "sizing": base.sizing[1:2],
            "expectations": [],
            "observed": ["memory_only", "litellm_1_84"],
            "reasons": ["nothing is expected of any variant: observed only"],
            "ledger": Ledger(balanced=True, equations=equations(variants)),
            "combined_view": [
                _view_row("memory_only", 30.0, 1203, 1200.0),
                _view_row("memory_only", 60.0, 2391, 2400.0),
                _view_row("litellm_1_84", 30.0, 77, 75.0),
                _view_row("litellm_1_84", 60.0, 151, 150.0),
            ],
        }
    )


def _user_only(variant: VariantResult) -> VariantResult:
    scoped = (
        "cells",
        "cell_reasons",
        "requests",
        "source_reads_per_1000_by_object",
        "reference_line_per_1000",
        "lookups_by_scope",
        "deserialize_failures",
        "log_pairs",
        "unexpected_statuses",
        "wrong_values",
    )
    kept = ("source_reads_per_1000", "source_reads_per_1000_range")
    changes: dict[str, object] = {
        name: {s: v for s, v in getattr(variant, name).items() if s == "user"} for name in scoped
    }
    changes |= {name: {s: getattr(variant, name)["user"] for s in ("all", "user")} for name in kept}
    changes["lookups"] = {
        "memory": {"hit": 2873, "miss": 127},
        "redis": {"hit": 55, "miss": 72},
    }
    changes["source_reads"] = sum(sum(reads_of(w)["user"].values()) for w in variant.windows[1:])
    changes["windows"] = [
        w.model_copy(
            update={
                "requests": {"user": w.requests["user"]},
                "source_reads": {"user": reads_of(w)["user"]},
                "source_reads_per_1000": {
                    "user": w.source_reads_per_1000["user"],
                    "all": w.source_reads_per_1000["user"],
                },
                "log_pairs": {},
            }
        )
        for w in variant.windows
    ]
    return variant.model_copy(update=changes)
