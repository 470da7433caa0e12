"""Source reads, as the stand-in for Prisma sends them."""

from __future__ import annotations

from typing import Any

from harness.authcache.words import ObjectKind
from harness.targets.litellm.inside.request import Requests
from harness.targets.schema.statements import classify


class StatementObserver:
    """Hears of every statement before it goes to Postgres, and of every one that fails."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._kinds: dict[str, ObjectKind | None] = {}

    def sent(self, statement: Any) -> None:
        """A statement is about to be sent."""
        kind = self._kind(statement.sql)
        if kind is not None:
            self._requests.current.source_read(kind)

    def failed(self, statement: Any, error: BaseException) -> None:
        """A statement failed."""
        del error
        kind = self._kind(statement.sql)
        if kind is not None:
            self._requests.metrics.source_read_error(kind)

    def _kind(self, sql: str) -> ObjectKind | None:
        # A replica sends a few dozen different statements; the combined view alone is 3 kB long.
        if sql not in self._kinds:
            if len(self._kinds) > 1000:  # noqa: PLR2004 - a bound, should a release build texts
                self._kinds.clear()
            self._kinds[sql] = classify(sql)
        return self._kinds[sql]
