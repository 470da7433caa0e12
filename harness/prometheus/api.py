"""The part of Prometheus' HTTP API that the harness uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from harness.errors import SetupError

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Series:
    """Labels and points (Unix seconds, value). An instant query gives one point per series."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        """The latest value."""
        return self.points[-1][1]

    @property
    def numbers(self) -> list[float]:
        """All values that are numbers."""
        return [value for _, value in self.points if not math.isnan(value)]


class PrometheusApi:
    """A client of one Prometheus.

    Args:
        url: its base URL.
        http: the client to use; the caller closes it.
    """

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url.rstrip("/")
        self._http = http

    async def ready(self) -> bool:
        """Whether it answers queries yet."""
        try:
            return (await self._http.get(f"{self.url}/-/ready")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def query(self, expr: str, at: float | None = None) -> list[Series]:
        """An instant query, by default now. Raises SetupError."""
        params = {"query": expr} if at is None else {"query": expr, "time": f"{at:.3f}"}
        return _series(await self._get("query", params))

    async def query_range(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        """A range query; times in Unix seconds. Raises SetupError."""
        params = {
            "query": expr,
            "start": f"{start:.3f}",
            "end": f"{end:.3f}",
            "step": f"{step_s:.3f}",
        }
        return _series(await self._get("query_range", params))

    async def label_values(self, label: str, match: str) -> list[str]:
        """Values of a label over the series that a selector matches. Raises SetupError."""
        data = await self._get(f"label/{label}/values", {"match[]": match})
        return [str(value) for value in data]

    async def head(self) -> tuple[float, float] | None:
        """Unix times of the first and the last sample in memory; None where there is none."""
        stats = (await self._get("status/tsdb", {}))["headStats"]
        if stats["numSeries"] == 0:
            return None
        return stats["minTime"] / 1000, stats["maxTime"] / 1000

    async def _get(self, path: str, params: Mapping[str, str]) -> Any:
        try:
            reply = await self._http.get(f"{self.url}/api/v1/{path}", params=dict(params))
            body = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            raise SetupError(
                f"Prometheus [{self.url}] does not answer: {type(error).__name__}: {error}. "
                "Check the address."
            ) from error
        if body.get("status") != "success":
            raise SetupError(f"Prometheus refused [{params}]: {body.get('error')}.")
        return body["data"]


def _series(data: Any) -> list[Series]:
    kind, rows = data["resultType"], data["result"]
    if kind == "scalar":
        return [Series({}, (_point(rows),))]
    points = "values" if kind == "matrix" else "value"
    return [
        Series(
            row["metric"],
            tuple(map(_point, row[points] if kind == "matrix" else [row[points]])),
        )
        for row in rows
    ]


def _point(pair: Any) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
