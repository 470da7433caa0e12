"""Values as Grafana's units write them, as far as the dashboards use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_THOUSANDS = ((1e9, "G"), (1e6, "M"), (1e3, "K"))
_BYTES = ((1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def written(value: float, unit: str) -> str:
    """A value with its unit. Raises KeyError for a unit that no panel uses so far."""
    return UNITS[unit](value)


def _short(value: float) -> str:
    for size, name in _THOUSANDS:
        if abs(value) >= size:
            return f"{_digits(value / size)} {name}"
    return _digits(value)


def _bytes(value: float) -> str:
    for size, name in _BYTES:
        if abs(value) >= size:
            return f"{_digits(value / size)} {name}"
    return f"{_digits(value)} B"


def _seconds(value: float) -> str:
    for size, name in _SECONDS:
        if abs(value) >= size:
            return f"{_digits(value / size)} {name}"
    return "0 s" if not value else f"{_digits(value * 1e9)} ns"


def _digits(value: float) -> str:
    """Three significant digits, no exponent, no empty decimals."""
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - digits
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _per_second(noun: str) -> Callable[[float], str]:
    return lambda value: f"{_short(value)} {noun}/s"


UNITS: Mapping[str, Callable[[float], str]] = {
    "none": _digits,
    "short": _short,
    "ops": _per_second("ops"),
    "reqps": _per_second("req"),
    "cps": _per_second("c"),
    "bytes": _bytes,
    "s": _seconds,
    "percentunit": lambda value: f"{_digits(value * 100)} %",
}
"""By Grafana's id."""
