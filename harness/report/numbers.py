"""Formats figures as text: the same in the terminal, in Markdown and in HTML.

A figure that was not measured is never a 0: it is the dash `NOT_MEASURED`.
"""

from __future__ import annotations

from harness.analysis.intervals import proportion
from harness.domain.result import Range

NOT_MEASURED = "\u2013"
"""An en dash."""
MINUS = "\u2212"
TIMES = "\u00d7"
_DASH = "\u2013"

_RATE_DECIMALS = ((100.0, 0), (1.0, 1), (0.005, 2))
"""Least size of a figure, and its decimals from there on."""
_TIME_DECIMALS = ((100.0, 0), (10.0, 1), (0.0, 2))
_ONE_DIGIT = 10
_LEAST_PERCENT, _MOST_PERCENT = 0.1, 99.9
_LEAST_ROUNDS = 2


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return NOT_MEASURED if value is None else _signed(f"{value:,}")


def rate(value: float | None) -> str:
    """A figure per 1,000 requests, a size or a residual: about three digits, 0 only for 0."""
    if value is None:
        return NOT_MEASURED
    size = abs(value)
    if value == int(value) and size < _ONE_DIGIT:
        return _signed(f"{value:.0f}")
    for least, decimals in _RATE_DECIMALS:
        if size >= least:
            return _signed(f"{value:,.{decimals}f}")
    return "<0.01" if value > 0 else f">{MINUS}0.01"


def exact(value: float | None) -> str:
    """A counted figure of the ledger: without decimals if it is whole, else with three."""
    if value is None:
        return NOT_MEASURED
    return _signed(f"{value:,.0f}" if value == int(value) else f"{value:,.3f}")


def time_ms(value: float | None) -> str:
    """Milliseconds, with no more digits than a noisy machine justifies."""
    if value is None:
        return NOT_MEASURED
    decimals = next(decimals for least, decimals in _TIME_DECIMALS if value >= least)
    return f"{value:,.{decimals}f}"


def seconds(value: float | None) -> str:
    """Seconds with two decimals."""
    return NOT_MEASURED if value is None else f"{value:,.2f}"


def plain(value: float) -> str:
    """A setting, with as many digits as it was given with."""
    return f"{value:,.10g}"


def share(part: float, whole: float) -> str:
    """A share in percent; a dash if the whole is 0. Never rounds to 0 % or 100 %."""
    if whole == 0:
        return NOT_MEASURED
    percent = 100 * part / whole
    if part == 0:
        return "0 %"
    if percent < _LEAST_PERCENT:
        return "<0.1 %"
    if part != whole and percent > _MOST_PERCENT:
        return ">99.9 %"
    return f"{percent:.1f} %"


def spread(figures: Range | None) -> str:
    """The range from least to greatest; empty for a single round."""
    if figures is None or figures.rounds < _LEAST_ROUNDS:
        return ""
    return f"{rate(figures.min)}{_DASH}{rate(figures.max)}"


def nothing_in(requests: int, error: float) -> str:
    """A count of 0 with the greatest share of the requests that it leaves possible.

    Args:
        requests: in which nothing was counted; 0 gives a dash.
        error: chance that the share is greater.
    """
    if not requests:
        return NOT_MEASURED
    return f"0 (<{100 * proportion(0, requests, error).high:.2g} %)"


def between(low: str, high: str) -> str:
    """A range of two formatted texts; one text if they are the same."""
    return low if low == high else f"{low}{_DASH}{high}"


def difference(value: float) -> str:
    """A difference with its sign."""
    text = rate(value)
    return f"+{text}" if value > 0 else text


def difference_text(percent: float) -> str:
    """A difference in percent with its sign, as `harness.analysis.difference` computes it."""
    return f"{difference(percent)} %"


def plural(n: int, noun: str) -> str:
    """``1 equation``, ``2 equations``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _signed(text: str) -> str:
    # Floating point has a negative zero, which readers do not expect.
    return "0" if text == "-0" else text.replace("-", MINUS)
