"""Everything known about one window: generator, replicas, Redis, Postgres, and the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from harness.authcache.words import ObjectKind
from harness.domain.changes import ChangeEvent
from harness.domain.faults import FAULTS, FaultEvent
from harness.domain.reads import ObjectRead
from harness.domain.result import Phase
from harness.domain.window import WindowResult
from harness.observe.counters import Counters
from harness.observe.postgres import StatementCount, Statements
from harness.observe.snapshots import RedisCount, Scrape, Snapshot
from harness.targets.base import KeyPath, KeyTruth


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The combined view's counts at a moment within a window, since its start."""

    at_s: float
    count: StatementCount


@dataclass(frozen=True)
class Evidence:
    """One measured window of one fleet, as every party counted it."""

    name: str
    variant: str
    phase: Phase
    round: int
    started_s: float
    duration_s: float
    generator: WindowResult
    before: Snapshot
    after: Snapshot
    truths: Mapping[int, KeyTruth]
    has_redis: bool
    not_counted: Mapping[str, str] = field(default_factory=dict)
    """Why ``redis`` or ``postgres`` counters are missing, by server."""
    not_checked: Mapping[str, str] = field(default_factory=dict)
    """Why an equation cannot be checked for the target, by the equation's name."""
    findings: frozenset[str] = frozenset()
    """Equations that are a finding about the target if they do not balance."""
    paths: Mapping[int, KeyPath] = field(default_factory=dict)
    """What an admitted request comes to, by key index."""
    loses_spend: frozenset[ObjectKind] = frozenset()
    """As the target says; so does the next."""
    reads_again: frozenset[int] = frozenset()
    promise_s: float = 0.0
    """How old an answer may be by what the operator set; see `RunPlan.promise_s`."""
    checkpoints: tuple[Checkpoint, ...] = ()
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    """CPU by group in the window, as `Stack.cpu_s` names them."""
    reads: tuple[ObjectRead, ...] | None = None
    """The window's source reads in order of time; None where no worker logs them."""
    warmup_reads: tuple[ObjectRead, ...] = ()
    """Those of its warm-up."""
    pause_s: float = 0.0
    """Time without load between the warm-up and the window; 0 without a warm-up."""
    members: tuple[str, ...] = ()
    """The variant that each replica runs, where they differ; else empty."""
    changes: tuple[ChangeEvent, ...] = ()
    """The changes that were made in the window, in order of time; `truths` has their versions."""
    fault: FaultEvent | None = None
    """What was broken in the window; None where nothing was."""
    scrapes: tuple[Scrape, ...] = ()
    """The replicas' counters while the load ran, in order of time; empty without a fault."""
    epoch_s: float = 0.0
    """Start of the window on the clock of `reads`; known of a window with a fault."""

    @property
    def rows_move(self) -> bool:
        """Whether objects may appear and vanish while they are asked for."""
        return self.phase == "changes" or self.fault is not None

    @cached_property
    def counted(self) -> Counters:
        """What the replicas counted in the window.

        A worker that a fault replaced counts twice: until the last scrape of the old process, and
        from the start of the new one.
        """
        if self.fault is None:
            return self.after.total.since(self.before.total)
        return Counters.total(counted for life in self._lives for counted in life)

    @cached_property
    def _lives(self) -> list[list[Counters]]:
        """What each process of each worker counted, as far as it was scraped."""
        lives = []
        for number, (first, last) in enumerate(
            zip(self.before.workers, self.after.workers, strict=True)
        ):
            pages = [page for s in self.scrapes if (page := s.workers[number]) is not None]
            counted, base, latest = [], first, first
            for page in (*pages, last):
                if self._to_be_replaced(number) and page.fallen(latest):
                    counted.append(latest.since(base))
                    base = Counters()
                latest = page
            lives.append([*counted, latest.since(base)])
        return lives

    @property
    def replaced(self) -> list[int]:
        """Numbers of the workers whose process was another at the window's end."""
        return [n for n, life in enumerate(self._lives) if len(life) > 1]

    @property
    def late_share(self) -> float:
        """Share of the sent requests that started too late; 0 to 1."""
        return self.generator.late / self.generator.sent if self.generator.sent else 0.0

    @property
    def unseen_s(self) -> float:
        """How long before the fault all workers last answered a scrape, in s; 0 without a fault."""
        begun_s = 0.0 if self.fault is None else self.fault.begun_s
        whole = (s.at_s for s in self.scrapes if s.at_s <= begun_s and None not in s.workers)
        return begun_s - max(whole, default=0.0)

    @property
    def fallen(self) -> list[str]:
        """Counters that fell within the window, by name: none unless a worker was replaced.

        A worker that a fault replaces may fall.
        """
        if len(self.before.workers) != len(self.after.workers):
            return ["workers"]
        pairs = zip(self.before.workers, self.after.workers, strict=True)
        return sorted(
            {
                name
                for number, (before, after) in enumerate(pairs)
                if not self._to_be_replaced(number)
                for name in after.fallen(before)
            }
        )

    def _to_be_replaced(self, worker: int) -> bool:
        """Whether the window's fault replaces the replica of a worker."""
        if self.fault is None:
            return False
        planned, hosts = self.fault.planned, len(self.generator.replicas)
        # A balanced fleet has one address, and any of its replicas may be the one.
        one = hosts == 1 or worker * hosts // len(self.before.workers) == planned.replica
        return {"": False, "one": one, "all": True}[FAULTS[planned.what].replaces]

    @property
    def statements(self) -> Statements | None:
        """Statements that Postgres ran for the fleet's role in the window."""
        before, after = self.before.statements, self.after.statements
        if before is None or after is None:
            return None
        return after.since(before)

    @property
    def redis(self) -> RedisCount | None:
        """What the fleet's Redis counted in the window."""
        before, after = self.before.redis, self.after.redis
        if before is None or after is None:
            return None
        return after.since(before)

    def spend(self, kind: ObjectKind) -> dict[str, tuple[int, int]]:
        """What each row of an object was due, and what it gained in the window, in micro-units.

        Due is the cost of the 2xx replies to all keys that are charged to the row, as the
        generator saw it. A key without a row of its own is due under ``no row``. Where rows may
        come or go, those that did are left out: the column of one of their sides is missing.
        """
        due: Counter[str] = Counter()
        for item in self.generator.keys:
            path = self.paths.get(item.key_index)
            row = None if path is None else path.rows.get(kind)
            if row is not None or kind is ObjectKind.KEY:
                due[row or "no row"] += item.cost_micro
        before, after = self.before.spend[kind], self.after.spend[kind]
        gained = {row: after.get(row, 0) - before.get(row, 0) for row in {*before, *after}}
        rows = {*due, *gained}
        if self.rows_move:
            rows &= {*before} & {*after}
        return {row: (due[row], gained.get(row, 0)) for row in sorted(rows)}

    def keeps_rows(self, path: KeyPath) -> bool:
        """Whether every row behind a key was there at both ends of the window."""
        return not self.rows_move or all(
            row in self.before.spend[kind] and row in self.after.spend[kind]
            for kind in ObjectKind
            if (row := path.rows.get(kind)) is not None
        )
