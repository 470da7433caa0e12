"""CPU of process trees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import psutil

from harness.process.processes import Process


class UsageMeter:
    """Adds up what processes and their descendants have used; CPU never goes down.

    A descendant that has ended is in its parent's account of children, once the parent has
    waited for it. In the moment between, the sum would dip, so the highest sum of each tree
    counts. On systems that keep no such account (macOS), ended descendants are lost.
    """

    def __init__(self) -> None:
        self._cpu_s: dict[int, float] = {}

    def measure(self, roots: Iterable[Process]) -> dict[str, float]:
        """Seconds by group. One pass over all processes of the machine: some milliseconds."""
        children = _children()
        cpu: dict[str, float] = defaultdict(float)
        for root in roots:
            tree_cpu = _tree(root.pid, children) if not root.ended() else 0.0
            self._cpu_s[root.pid] = max(self._cpu_s.get(root.pid, 0.0), tree_cpu)
            cpu[root.command.group] += self._cpu_s[root.pid]
        return dict(cpu)


def _children() -> dict[int, list[psutil.Process]]:
    found: dict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter(["ppid"]):
        found[process.info["ppid"]].append(process)
    return found


def _tree(root: int, children: dict[int, list[psutil.Process]]) -> float:
    cpu_s = 0.0
    try:
        todo = [psutil.Process(root)]
    except psutil.NoSuchProcess:
        return cpu_s
    while todo:
        process = todo.pop()
        todo += children.get(process.pid, [])
        try:
            cpu_s += sum(process.cpu_times()[:4])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return cpu_s
