"""Raw samples: one row for every request sent, as gzip-compressed CSV with a header line.

===========  =====================================================================
column       meaning
===========  =====================================================================
window       name of the window
scope        key scope
key          index into the keys file
replica      index into the hosts
intended_s   when the request should have started; in a closed load, when it did
sent_s       when it started
done_s       when the last byte of the reply, or the error, arrived
status       HTTP status; 0 without a complete reply
error        kind of transport error; empty if answered
cost_micro   cost of a 2xx reply in millionths of a US dollar
served       the header `harness.domain.served.SERVED_HEADER` as received
worker       the header `harness.domain.served.WORKER_HEADER` as received; empty without one
===========  =====================================================================

Times are seconds since the start of the window, to the microsecond. The CSV is RFC 4180's.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from harness.errors import UsageError

_COMPRESSION = 1
"""The lowest: the rows are written while the load runs."""


class Sample(NamedTuple):
    """One request sent; the columns are described at the top of the module."""

    window: str
    scope: str
    key: int
    replica: int
    intended_s: float
    sent_s: float
    done_s: float
    status: int
    error: str
    cost_micro: int
    served: str
    worker: str = ""


COLUMNS = Sample._fields
_WITHOUT_WORKER = COLUMNS[:-1]
"""The columns of older runs."""


class SampleWriter:
    """Writes samples to a new file; an existing one is replaced. Close it, or use ``with``."""

    def __init__(self, path: Path) -> None:
        # mtime 0 and no file name in the header: the same samples make the same bytes
        self._raw = path.open("wb")
        zipped = gzip.GzipFile("", "wb", _COMPRESSION, self._raw, mtime=0)
        self._text = io.TextIOWrapper(zipped, encoding="utf-8", newline="")
        self._rows = csv.writer(self._text)
        self._rows.writerow(COLUMNS)

    def write(self, sample: Sample) -> None:
        """Add one row."""
        window, scope, key, replica, intended, sent, done, *rest = sample
        times = (f"{intended:.6f}", f"{sent:.6f}", f"{done:.6f}")
        self._rows.writerow((window, scope, key, replica, *times, *rest))

    def close(self) -> None:
        """Finish the file. May be called twice."""
        self._text.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_samples(path: Path) -> Iterator[Sample]:
    """The rows of a samples file, in the order in which the requests ended.

    Raises:
        UsageError: if the file cannot be read, is cut short, or is not a samples file.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines)
            if tuple(next(rows, ())) not in (COLUMNS, _WITHOUT_WORKER):
                raise UsageError(
                    f"[{path.name}] does not start with the columns of a samples file. "
                    "Give a file that a run wrote."
                )
            yield from map(_sample, rows)
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise UsageError(
            f"The samples file [{path.name}] cannot be read: {error}. Run again to rewrite it."
        ) from error


def _sample(row: list[str]) -> Sample:
    window, scope, key, replica, intended, sent, done, status, error, cost, served, *worker = row
    return Sample(
        window=window,
        scope=scope,
        key=int(key),
        replica=int(replica),
        intended_s=float(intended),
        sent_s=float(sent),
        done_s=float(done),
        status=int(status),
        error=error,
        cost_micro=int(cost),
        served=served,
        worker=worker[0] if worker else "",
    )
