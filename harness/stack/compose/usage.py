"""CPU of containers, from the control groups that the kernel keeps for them.

A control group counts what its processes used, those that have ended included, and reading it
starts nothing: `docker stats` would cost a process and a second each time. Where the daemon runs in
a machine of its own (Docker Desktop) there are no groups to read here, and nothing is reported.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_NS = 1e9
_US = 1e6


@dataclass(frozen=True, slots=True)
class Metered:
    """One container's accounts. Make it with `meter`."""

    group: str
    """For resource use, as ``fleet:recommended``."""
    cpu: Path
    """``cpu.stat`` (version 2) or ``cpuacct.usage`` (version 1)."""


def meter(
    group: str, container: str, pid: int, proc: Path = Path("/proc"), groups: Path = _GROUPS
) -> Metered | None:
    """A container's accounts; None where they cannot be read on this machine.

    Args:
        group: for resource use.
        container: the container's id: a process of that number outside of a control group of this
            name is on another machine, or not of this container.
        pid: of the container's first process.
        proc: where the system shows its processes.
        groups: where the system shows its control groups.
    """
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (proc / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if container in path:
                paths |= dict.fromkeys(controllers.split(","), path.lstrip("/"))
    if "cpuacct" in paths:
        cpu = groups / "cpuacct" / paths["cpuacct"] / "cpuacct.usage"
    elif "" in paths:
        cpu = groups / paths[""] / "cpu.stat"
    else:
        return None
    return Metered(group, cpu) if cpu.is_file() else None


class Meter:
    """Adds containers up by group; what one used stays counted when it is gone."""

    def __init__(self) -> None:
        self._last: dict[Metered, float] = {}

    def measure(self, metered: Iterable[Metered]) -> dict[str, float]:
        """CPU seconds by group."""
        for one in metered:
            with contextlib.suppress(OSError, ValueError):
                self._last[one] = _cpu_s(one.cpu)
        cpu: dict[str, float] = defaultdict(float)
        for one, seconds in self._last.items():
            cpu[one.group] += seconds
        return dict(cpu)


def _cpu_s(path: Path) -> float:
    text = path.read_text()
    if path.name == "cpuacct.usage":
        return int(text) / _NS
    return _fields(text)["usage_usec"] / _US


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - a pair
