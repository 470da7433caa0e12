"""Faults: what a scenario breaks on purpose, for a while, and what came of each.

A fault belongs to one part of a fleet. It counts only if a counter of its own shows that it took
effect: a signal that was sent proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.errors import UnknownNameError, UsageError

Part = Literal["redis", "postgres", "replica"]
Balancer = Literal["blind", "probed"]
"""The model of a load balancer: ``blind`` keeps sending to a replica that is gone or hangs,
``probed`` drops it some seconds after it stopped answering."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a part fails."""

    part: Part
    summary: str
    """What it does, for people: ``"stop Redis without closing a connection"``."""
    proof: str
    """What is counted to show that it took effect: ``"commands that waited"``."""
    at_once: bool = False
    """It happens at one moment; its duration is only how long it is watched."""
    replaces: Literal["", "one", "all"] = ""
    """Which replicas are others after it, with counters that begin anew: ``one`` is the replica
    that it works on."""
    forgets: bool = False
    """The server counts from 0 after it."""
    hides: bool = False
    """Nothing asks for the part before entries have expired: a short one shows little."""


FAULTS: Mapping[str, Fault] = {
    "redis-kill-empty": Fault(
        "redis", "kill Redis, start it again empty", "connections refused", forgets=True
    ),
    "redis-kill-saved": Fault(
        "redis",
        "save and kill Redis, start it again with its data",
        "connections refused",
        forgets=True,
    ),
    "redis-hang": Fault(
        "redis", "stop Redis without closing a connection", "commands that waited", hides=True
    ),
    "redis-slow": Fault("redis", "delay each answer of Redis", "answers delayed"),
    "redis-reset": Fault(
        "redis", "cut connections to Redis in the middle of an answer", "connections cut"
    ),
    "redis-blackhole": Fault(
        "redis",
        "let nothing through between one replica and Redis",
        "bytes that were dropped",
        hides=True,
    ),
    "redis-flush": Fault("redis", "delete every entry", "entries deleted", at_once=True),
    "redis-evict": Fault(
        "redis", "give Redis less memory than the entries need", "entries evicted"
    ),
    "redis-oom": Fault("redis", "let Redis refuse writes for want of memory", "writes refused"),
    "redis-readonly": Fault("redis", "make Redis a replica that takes no writes", "writes refused"),
    "redis-no-del": Fault("redis", "take the right to delete from the user", "deletions refused"),
    "redis-late": Fault(
        "redis",
        "start Redis some seconds after the replicas",
        "connections refused",
        replaces="all",
        forgets=True,
    ),
    "redis-poison": Fault(
        "redis", "write entries that cannot be read", "entries written", at_once=True
    ),
    "redis-unsubscribe": Fault(
        "redis", "cut the connections that listen for messages", "connections cut", at_once=True
    ),
    "postgres-kill": Fault(
        "postgres", "kill Postgres and start it again", "connections cut", forgets=True
    ),
    "postgres-kill-backend": Fault(
        "postgres", "kill one backend of Postgres", "connections cut", at_once=True, forgets=True
    ),
    "postgres-hang": Fault(
        "postgres", "stop Postgres and every backend", "statements that waited", hides=True
    ),
    "postgres-slow": Fault("postgres", "delay each read of an object", "reads delayed"),
    "postgres-full": Fault(
        "postgres", "leave no connection for the fleet's role", "connections refused"
    ),
    "replica-kill": Fault(
        "replica", "kill a replica, start a new one", "processes ended", replaces="one"
    ),
    "replica-term": Fault(
        "replica", "ask a replica to end, start a new one", "processes ended", replaces="one"
    ),
    "replica-hang": Fault("replica", "stop a replica", "requests that waited"),
    "replica-clock": Fault("replica", "shift the clock of a replica", "clocks shifted"),
}
"""Every fault, by name."""

NOT_PLANTED: Mapping[str, str] = {
    "postgres-lag": "no stack starts a read replica of Postgres, so none can lag behind",
}
"""Faults that are asked for and that no stack can do, with the reason."""
ENTRIES = ("other_type", "truncated", "empty", "foreign", "large")
"""What ``redis-poison`` writes: an entry of another Redis type, one that is cut short, one of no
bytes, one that another version wrote, and one of 10 MB."""


def fault(name: str) -> Fault:
    """The fault of a name. Raises UnknownNameError; UsageError for one that no stack can do."""
    if name in NOT_PLANTED:
        raise UsageError(f"the fault [{name}] cannot be planted: {NOT_PLANTED[name]}; leave it out")
    found = FAULTS.get(name)
    if found is None:
        raise UnknownNameError("fault", name, FAULTS)
    return found


def fault_name(what: str, entry: str) -> str:
    """The name of a fault in reports, as ``redis-poison-empty``: unique in a run."""
    return f"{what}-{entry}" if what == "redis-poison" else what


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of one window, the same for every variant. Times are of its window's start."""

    number: int
    """From 1, in the order of the scenario; each has a window of its own."""
    what: str
    """A name in `FAULTS`."""
    at_s: float
    for_s: float
    replica: int = 0
    """Index of the replica that it works on, where it works on one."""
    delay_ms: float = 0.0
    """Of ``slow`` faults."""
    jitter_ms: float = 0.0
    skew_s: float = 0.0
    """Of ``replica-clock``."""
    entry: str = "other_type"
    """Of ``redis-poison``: ``other_type``, ``truncated``, ``empty``, ``foreign`` or ``large``."""
    new_after_s: float = 0.0
    """How long after its end a killed replica has a successor."""

    @property
    def name(self) -> str:
        """Its name in reports, by `fault_name`."""
        return fault_name(self.what, self.entry)


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """What came of a planned fault. Times are seconds since the start of its window."""

    planned: PlannedFault
    begun_s: float
    """When the first thing was broken."""
    ended_s: float
    """When the last thing was mended: from here on recovery is timed."""
    bit: int
    """What `Fault.proof` names, counted; 0: the fault took no effect, and the run is invalid."""
    detail: str = ""
    """More about it: what was counted, which pid, what a server answered."""


Verdict = Literal["invalid", "wrong", "outage", "degraded", "unaffected"]
"""What a fault did to a variant, the worst first. ``invalid``: it took no effect."""
