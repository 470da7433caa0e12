"""CPU and memory of process trees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import psutil

from harness.process.processes import Process
from harness.stack.base import ResourceUse


class UsageMeter:
    """Adds up what processes and their descendants have used; CPU never goes down.

    A descendant that has ended is in its parent's account of children, once the parent has
    waited for it. In the moment between, the sum would dip, so the highest sum of each tree
    counts. On systems that keep no such account (macOS), ended descendants are lost.
    """

    def __init__(self) -> None:
        self._cpu_s: dict[int, float] = {}

    def measure(self, roots: Iterable[Process]) -> ResourceUse:
        """Sum by group. One pass over all processes of the machine: some milliseconds."""
        children = _children()
        cpu: dict[str, float] = defaultdict(float)
        rss: dict[str, int] = defaultdict(int)
        for root in roots:
            tree_cpu, tree_rss = _tree(root.pid, children) if not root.ended() else (0.0, 0)
            self._cpu_s[root.pid] = max(self._cpu_s.get(root.pid, 0.0), tree_cpu)
            cpu[root.command.group] += self._cpu_s[root.pid]
            rss[root.command.group] += tree_rss
        return ResourceUse(cpu_s=dict(cpu), rss_bytes=dict(rss))


def _children() -> dict[int, list[psutil.Process]]:
    found: dict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter(["ppid"]):
        found[process.info["ppid"]].append(process)
    return found


def _tree(root: int, children: dict[int, list[psutil.Process]]) -> tuple[float, int]:
    cpu_s = 0.0
    rss = 0
    try:
        todo = [psutil.Process(root)]
    except psutil.NoSuchProcess:
        return cpu_s, rss
    while todo:
        process = todo.pop()
        todo += children.get(process.pid, [])
        try:
            with process.oneshot():
                cpu_s += sum(process.cpu_times()[:4])
                rss += process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return cpu_s, rss
