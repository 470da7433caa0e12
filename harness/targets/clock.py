"""A clock that the harness can shift while a replica runs, for the fault ``replica-clock``.

Standard library only: the environment of a release imports this too. Shifted are ``time.time`` and
``time.time_ns``, as Python code calls them. Not shifted is what C code reads by itself:
``datetime.now``, ``time.localtime`` without an argument, OpenSSL. Nor is ``time.monotonic``, which
does not move with a machine's clock either.

Each process has a file of its own in the replica's folder, named by its pid: the offset in
seconds, which the harness writes, and how many times were asked for under an offset, which the
process writes.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

CLOCKS_VARIABLE = "AUTHCACHE_CLOCKS"
"""Of a replica's environment: the folder of its clocks; not set where no clock is to be shifted."""

_OFFSET = struct.Struct("=d")
_COUNT = struct.Struct("=Q")
_SIZE = _OFFSET.size + _COUNT.size


def install() -> None:
    """Have this process ask its file for the offset, where the environment names a folder.

    Call it before any module takes ``time.time`` by name.
    """
    folder = os.environ.get(CLOCKS_VARIABLE)
    if folder is None:
        return
    file = Path(folder, str(os.getpid()))
    file.write_bytes(bytes(_SIZE))
    with file.open("r+b") as opened:
        page = mmap.mmap(opened.fileno(), _SIZE)
    real_time, real_time_ns = time.time, time.time_ns
    read, count = _OFFSET.unpack_from, _COUNT

    def offset_s() -> float:
        (offset,) = read(page)
        if offset:
            count.pack_into(page, _OFFSET.size, count.unpack_from(page, _OFFSET.size)[0] + 1)
        return float(offset)

    def shifted_time() -> float:
        return real_time() + offset_s()

    def shifted_time_ns() -> int:
        return real_time_ns() + round(offset_s() * 1e9)

    time.time, time.time_ns = shifted_time, shifted_time_ns


def shift(folder: Path, offset_s: float) -> int:
    """Shift the clocks of a replica's processes; returns how many there are.

    Args:
        folder: of `CLOCKS_VARIABLE`.
        offset_s: seconds; 0 sets them right.
    """
    files = list(folder.iterdir())
    for file in files:
        with file.open("r+b") as opened:
            opened.write(_OFFSET.pack(offset_s))
    return len(files)


def shifted(folder: Path) -> dict[str, int]:
    """How many times each process of a replica, by its pid, has asked for under an offset."""
    pages = {file.name: file.read_bytes() for file in folder.iterdir()}
    return {pid: _COUNT.unpack_from(page, _OFFSET.size)[0] for pid, page in pages.items()}
