"""CPU time, memory and cores of processes, as exactly as the system reports them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil

_NS = 1_000_000_000

CpuTimes = dict[tuple[int, str], int]
"""Nanoseconds by process and thread."""


def tree(pids: Iterable[int]) -> list[int]:
    """The processes and all their descendants."""
    found: list[int] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            found += [pid, *(child.pid for child in root.children(recursive=True))]
    return found


def cpu_times(pids: Iterable[int]) -> CpuTimes:
    """CPU time that the threads of some process trees have used so far.

    On Linux the scheduler's own count, in nanoseconds; elsewhere what psutil knows, which is
    exact to a hundredth of a second.
    """
    times: CpuTimes = {}
    for pid in tree(pids):
        tasks = Path(f"/proc/{pid}/task")
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if tasks.is_dir():
                for task in tasks.iterdir():
                    times[pid, task.name] = int((task / "schedstat").read_text().split()[0])
            else:
                used = psutil.Process(pid).cpu_times()
                times[pid, ""] = round((used.user + used.system) * _NS)
    return times


def used_s(before: CpuTimes, after: CpuTimes) -> float:
    """CPU seconds between two readings; a thread that ended in between is not counted."""
    return sum(ns - before.get(thread, 0) for thread, ns in after.items()) / _NS


def memory_bytes(pids: Iterable[int]) -> tuple[int, int | None]:
    """Resident memory of some process trees, and the proportional share if it is reported."""
    rss, pss, told = 0, 0, True
    for pid in tree(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            full = psutil.Process(pid).memory_full_info()
            rss += full.rss
            told = told and hasattr(full, "pss")
            pss += getattr(full, "pss", 0)
    return rss, pss if told else None


def two_cores() -> tuple[int, int] | None:
    """One core for the server and one for everything else; None if there is no choice."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else None


def pin(pids: Iterable[int], core: int | None) -> None:
    """Keep process trees, all their threads, on one core. None leaves them alone."""
    if core is None:
        return
    for pid in tree(pids):
        for thread in _threads(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.sched_setaffinity(thread, {core})


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return [pid]
