"""What one window consists of, with a driver and a fleet that only say what they are asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from harness.archive.directory import SAMPLES
from harness.authcache.digest import digest
from harness.authcache.variants import load_variants
from harness.authcache.words import ObjectKind
from harness.domain.changes import ChangeEvent
from harness.domain.faults import PlannedFault
from harness.domain.progress import Tick
from harness.domain.reads import LoggedRead, ObjectRead, object_id
from harness.domain.samples import Sample, SampleWriter
from harness.domain.window import Begun, LoadProgress, WindowCommand, WindowResult
from harness.errors import InvalidRunError
from harness.experiment.changes import Made
from harness.experiment.companions import Companions
from harness.experiment.measure import Windows
from harness.load.client import LoadDriver
from harness.observe.counters import Counters
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.postgres import StatementCount, Statements
from harness.observe.snapshots import Observer, RedisCount, Snapshot
from harness.plan.arms import reference_arm
from harness.plan.commands import commands
from harness.plan.plan import RunPlan, Slot, make_plan
from harness.scenario.loader import load_scenario
from harness.scenario.schema import Scenario
from harness.stack.base import Fleet, Stack
from harness.targets.base import KeyTruth
from tests.observe.build import NO_SPEND, NOTHING, evidence, page, series
from tests.silence import Silence

HOSTS = ("http://127.0.0.1:1", "http://127.0.0.1:2")
COUNTED = LoadProgress(
    window="w", elapsed_s=0.5, answered=40, failed=0, requests_per_s=80.0, statuses={}
)


class Display(Silence):
    """Keeps what it is shown."""

    def __init__(self, events: list[str], *, live: bool = False) -> None:
        super().__init__()
        self.live = live
        self.ticks: list[Tick] = []
        self.ticked = asyncio.Event()
        self._events = events

    def window(self, number: int, total: int, variant: str, phase: str) -> None:
        self._events.append(f"show {number}/{total} {variant} {phase}")

    def tick(self, tick: Tick) -> None:
        self.ticks.append(tick)
        self.ticked.set()


class Connection:
    """Postgres, with the population's keys in it and nothing else."""

    def __init__(self, plan: RunPlan) -> None:
        self._tokens = [key.token for key in plan.keys]

    async def fetch(self, statement: str, *_: Any) -> list[dict[str, Any]]:
        if '"LiteLLM_VerificationToken"' not in statement:
            return []
        row = {"blocked": False, "expires": None, "max_budget": None, "spend": 0.0}
        return [row | {"token": token} for token in self._tokens]


@dataclass
class World:
    """One fleet, the driver and the stack, each with what it was asked, in one list."""

    plan: RunPlan
    folder: Path
    shows: bool = False
    """Whether the display wants ticks while a window runs."""
    counts_statements: bool = True
    fails: BaseException | None = None
    """What the driver raises instead of a result."""
    statements_fail: BaseException | None = None
    until: Callable[[], Any] | None = None
    """What the driver waits for before it has a result."""
    events: list[str] = field(default_factory=list)
    cannot_break: BaseException | None = None
    mended: asyncio.Event = field(default_factory=asyncio.Event)
    scrapes: int = 0
    looks: int = 0
    commands: list[WindowCommand] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    result: WindowResult = field(default_factory=lambda: evidence().generator)
    cpu: list[dict[str, float]] = field(
        default_factory=lambda: [{"postgres": 1.0}, {"postgres": 1.25, "fleet:recommended": 0.5}]
    )

    def __post_init__(self) -> None:
        arm = self.plan.arms[0]
        self.fleet = Fleet(self.plan.fleet(arm), HOSTS, (), (), "", "", "redis://127.0.0.1")
        self.companions = Companions(self.plan, [self.fleet])
        self.display = Display(self.events, live=self.shows)
        self.postgres = Connection(self.plan)

    def windows(self) -> Windows:
        return Windows(
            plan=self.plan,
            run_dir=self.folder,
            stack=cast("Stack", self),
            driver=cast("LoadDriver", self),
            observers={self.fleet.name: cast("Observer", self)},
            companions=self.companions,
            progress=self.display,
            start=0.0,
        )

    async def measure(self, phase: str) -> Evidence:
        return await self.windows().measure(self.slot(phase))

    def slot(self, phase: str) -> Slot:
        return next(slot for slot in self.plan.slots if slot.phase == phase)

    # As the load driver.
    async def window(
        self,
        command: WindowCommand,
        on_progress: Callable[[LoadProgress], None],
        on_begun: Callable[[Begun], None] | None = None,
    ) -> WindowResult:
        active = [(w.variant, w.phase, w.round) for w in self.companions.state.windows if w.active]
        self.events.append(f"drive {command.window} in {active}")
        self.commands.append(command)
        if on_begun is not None:
            on_begun(Begun(window=command.window, monotonic_s=time.monotonic()))
        on_progress(COUNTED)
        if self.until is not None:
            await self.until()
        if self.fails is not None:
            raise self.fails
        return self.result

    # As the stack, and as what breaks its fleet.
    detail = "as planned"

    def breaker(self, fleet: Fleet) -> World:
        assert fleet is self.fleet
        return self

    async def begin(self, planned: PlannedFault) -> None:
        self.events.append(f"break {planned.what}")
        if self.cannot_break is not None:
            raise self.cannot_break

    async def end(self) -> int:
        self.events.append("mend")
        self.mended.set()
        return 3

    def cpu_s(self) -> dict[str, float]:
        return self.cpu.pop(0)

    # As the observer.
    async def at_rest(self, timeout_s: float = 0.0) -> Snapshot:
        self.events.append(f"at rest within {timeout_s:g} s" if timeout_s else "at rest")
        reads = series("authcache_source_reads_total", 5.0 * len(self.snapshots))
        lookups = series(
            "authcache_lookups_total", 7.0 * len(self.snapshots), tier="memory", outcome="hit"
        )
        key = self.plan.keys[0]
        name = object_id("key", key.token)
        logged = LoggedRead(float(len(self.snapshots)), name, "")
        snapshot = Snapshot(
            (page(reads, lookups),), NOTHING, RedisCount(0, {}), NO_SPEND, ((logged,),)
        )
        self.snapshots.append(snapshot)
        return snapshot

    async def reconnect(self) -> None:
        self.events.append("reconnect")

    def read_anew(self, replica: int | None) -> None:
        self.events.append(f"read anew {replica}")

    async def scrape(self) -> tuple[str | None, ...]:
        self.scrapes += 1
        self.events.append("scrape")
        return (f"n_total {self.scrapes}.0\n", None)

    async def live(self) -> Counters:
        self.looks += 1
        return page(series("authcache_source_reads_total", 3.0 * self.looks))

    async def statements(self) -> Statements | None:
        self.events.append("statements")
        if self.statements_fail is not None:
            raise self.statements_fail
        if not self.counts_statements:
            return None
        n = self.events.count("statements")
        other = dict.fromkeys(ObjectKind, StatementCount(99, 99.0, 99))
        return Statements(other | {ObjectKind.KEY: StatementCount(10 * n, 1.0 * n, 20 * n)})


def _plan(**load: Any) -> RunPlan:
    """TTLs so short that a checkpoint comes at once."""
    scenario = load_scenario("smoke")
    changes = {"warmup_ttls": 2, "window_ttls": 3, **load}
    scenario = scenario.model_copy(
        update={
            "load": scenario.load.model_copy(update=changes),
            "variants": ["recommended"],
        }
    )
    plan = make_plan(scenario, [reference_arm(load_variants()["recommended"])], stack="embedded")
    return replace(plan, settings=replace(plan.settings, ttl_s=0.01))


async def test_a_window_is_warmed_up_and_then_driven_between_two_rests(tmp_path: Path) -> None:
    world = World(_plan(), tmp_path)
    found = await world.measure("measured")
    assert world.events == [
        "show 2/4 recommended warm-up",
        "drive 02-measured-recommended-warmup in [('recommended', 'warmup', 1)]",
        "show 2/4 recommended measured",
        "at rest",
        "drive 02-measured-recommended in [('recommended', 'measured', 1)]",
        "at rest",
    ]
    assert (found.before, found.after) == tuple(world.snapshots)


async def test_a_cold_fill_is_measured_from_the_first_request_on(tmp_path: Path) -> None:
    world = World(_plan(checkpoints_ttls=[1]), tmp_path)
    found = await world.measure("cold_fill")
    assert world.events == [
        "show 1/4 recommended cold_fill",
        "at rest",
        "drive 01-cold_fill-recommended in [('recommended', 'cold_fill', 0)]",
        "at rest",
    ]
    assert (found.phase, found.round, found.duration_s) == ("cold_fill", 0, 0.01)
    assert (found.warmup_reads, found.pause_s) == ((), 0.0), "what went before is not its own"
    assert found.checkpoints == ()


async def test_the_pause_before_a_window_is_the_time_without_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the end of the warm-up to the first moment of the window, as the driver counts it."""
    world = World(_plan(), tmp_path)
    now = [100.0]
    monkeypatch.setattr("harness.experiment.measure.time.monotonic", lambda: now[0])

    async def drive() -> None:
        now[0] += 10.0

    world.until = drive
    world.result = world.result.model_copy(update={"elapsed_s": 9.25})
    found = await world.measure("measured")
    # The warm-up ends at 110 and the window at 120; its clock started 9.25 s before that.
    assert found.pause_s == 0.75


@pytest.mark.parametrize("phase", ["cold_fill", "measured"])
async def test_the_driver_gets_the_commands_of_plan_and_slot(tmp_path: Path, phase: str) -> None:
    world = World(_plan(), tmp_path)
    await world.measure(phase)
    load = commands(
        world.plan, world.slot(phase), HOSTS, tmp_path / "keys.json", tmp_path / "samples"
    )
    assert world.commands == [c for c in (load.warmup, load.window) if c is not None]


async def test_the_evidence_holds_what_every_side_says(tmp_path: Path) -> None:
    world = World(_plan(), tmp_path)
    world.fleet.not_counted_reason = {"redis": "others use it"}
    found = await world.measure("measured")
    assert (found.name, found.variant, found.phase) == (
        "02-measured-recommended", "recommended", "measured"
    )  # fmt: skip
    assert (found.round, found.duration_s) == (1, world.plan.window_s)
    assert found.generator == world.result
    assert found.counted.sum("authcache_source_reads_total") == 5
    assert found.cpu_s == {"postgres": 0.25, "fleet:recommended": 0.5}
    assert found.has_redis
    assert found.not_counted == {"redis": "others use it"}
    target = world.fleet.spec.target
    assert (found.not_checked, found.findings) == (target.not_checked, target.findings)
    assert (found.loses_spend, found.reads_again) == (target.loses_spend, target.reads_again)
    settings = world.fleet.spec.settings
    assert found.paths == {key.index: target.path(key, settings) for key in world.plan.all_keys}
    assert found.started_s > 0
    # Those that were logged before the first snapshot are the warm-up's.
    scope, name = world.plan.keys[0].scope, object_id("key", world.plan.keys[0].token)
    assert found.warmup_reads == (ObjectRead(0.0, 0, name, "key", "", scope),)
    assert found.reads == (ObjectRead(1.0, 0, name, "key", "", scope),)
    assert list(found.truths) == [key.index for key in world.plan.all_keys]
    assert {found.truths[key.index].status for key in world.plan.keys} == {200}
    # One TTL in memory, one in Redis, and a read.
    assert found.promise_s == pytest.approx(0.12)


@pytest.mark.parametrize("planted", [True, False])
async def test_the_truth_knows_whether_a_user_is_planted_in_this_fleet(
    tmp_path: Path, planted: bool
) -> None:
    world = World(_plan(), tmp_path)
    settings = replace(world.fleet.spec.settings, planted_null_user=planted)
    world.fleet.spec = replace(world.fleet.spec, settings=settings)
    found = await world.measure("measured")
    users = {
        found.truths[key.index].digests.get("user")
        for key in world.plan.keys
        if key.scope == "team"
    }
    assert users == ({digest("user", {})} if planted else {None})


async def test_a_fleet_without_redis_says_so(tmp_path: Path) -> None:
    world = World(_plan(), tmp_path)
    world.fleet.redis_url = None
    assert not (await world.measure("measured")).has_redis


async def test_checkpoints_count_the_combined_view_since_the_start(tmp_path: Path) -> None:
    world = World(_plan(checkpoints_ttls=[1, 3]), tmp_path)
    found = await world.measure("measured")
    assert found.checkpoints == (
        Checkpoint(0.01, StatementCount(10, 1.0, 20)),
        Checkpoint(world.plan.window_s, StatementCount(20, 2.0, 40)),
    )
    assert world.events.index("at rest") < world.events.index("statements")
    assert world.events[-1] == "at rest"


async def test_where_statements_are_not_counted_there_is_no_checkpoint(tmp_path: Path) -> None:
    world = World(_plan(checkpoints_ttls=[1]), tmp_path, counts_statements=False)
    assert (await world.measure("measured")).checkpoints == ()


async def test_a_checkpoint_that_cannot_be_read_makes_the_run_invalid(tmp_path: Path) -> None:
    broken = asyncpg.InterfaceError("connection is closed")
    world = World(_plan(checkpoints_ttls=[1]), tmp_path, statements_fail=broken)
    with pytest.raises(InvalidRunError, match="cannot be read: connection is closed"):
        await world.measure("measured")


async def test_a_driver_that_fails_ends_the_stretch_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    world = World(_plan(checkpoints_ttls=[1]), tmp_path, fails=InvalidRunError("driver died"))
    before = asyncio.all_tasks()
    with pytest.raises(InvalidRunError, match="driver died"):
        await world.measure("measured")
    assert not any(window.active for window in world.companions.state.windows)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_what_the_driver_counted_reaches_every_companion(tmp_path: Path) -> None:
    world = World(_plan(), tmp_path)
    world.result = world.result.model_copy(update={"planned": 123, "late": 4})
    await world.measure("cold_fill")
    kept = world.companions.state.generator["recommended"]
    assert (kept.planned, kept.late) == (123, 4)


async def test_a_window_ends_with_one_tick_of_its_figures(tmp_path: Path) -> None:
    world = World(_plan(), tmp_path)
    await world.measure("measured")
    (tick,) = world.display.ticks
    # 100 answers in 4 s, as the generator says
    assert tick == Tick(4.0, world.plan.window_s, 25.0, 100, {"memory": {"hit": 7}}, 5)
    world = World(_plan(), tmp_path)
    world.result = world.result.model_copy(update={"elapsed_s": 0.0})
    await world.measure("measured")
    assert world.display.ticks[0].requests_per_s == 0.0


async def test_a_live_display_sees_the_window_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.experiment.measure.SHOWN_S", 0.01)
    world = World(_plan(warmup_ttls=0), tmp_path, shows=True)
    world.until = world.display.ticked.wait
    await world.measure("measured")
    while_it_ran, at_its_end = world.display.ticks
    assert while_it_ran == Tick(0.5, world.plan.window_s, 80.0, 40, {}, 3)
    assert at_its_end.answered == 100


async def test_a_window_of_changes_is_changed_while_it_is_driven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(_plan(), tmp_path)
    slot = world.slot("changes")
    planned = world.plan.planned_changes(slot.batch)
    version = KeyTruth({"key": "new"}, 401, since=(0.1, 0.2), earlier=(KeyTruth({}, 200),))
    index = planned[0].key.index
    event = ChangeEvent(1, "key-block", "team", "sql", index, None, "", 0.1, 0.2, 0, "done")

    class Changed:
        async def make(self, start: float) -> Made:
            assert 0 <= time.monotonic() - start < 60
            world.events.append("change")
            changed.set()
            return Made([event], {index: version})

    @asynccontextmanager
    async def ready(
        observer: Any, changes: Any, on_made: Any, *, news: bool
    ) -> AsyncIterator[Changed]:
        assert (observer, changes, news) == (world, planned, True)
        world.events.append("ready to change")
        on_made(event)
        yield Changed()

    monkeypatch.setattr("harness.experiment.measure.ready_to_change", ready)

    changed = asyncio.Event()
    world.until = changed.wait
    # Asked for longer after the change than any promise: the first is right, the second stale.
    samples = tmp_path / SAMPLES
    samples.mkdir()
    with SampleWriter(samples / f"{slot.name}.csv.gz") as writer:
        for status in (401, 200):
            writer.write(
                Sample(slot.name, "team", index, 0, 60.0, 60.0, 60.1, status, "", 0, "", "0.0")
            )
    found = await world.measure("changes")
    assert world.events == [
        f"show {slot.number}/{len(world.plan.slots)} recommended changes",
        "at rest",
        "ready to change",
        f"drive {slot.name} in [('recommended', 'changes', 0)]",
        "change",
        "at rest",
    ]
    assert found.changes == (event,)
    assert world.companions.state.changes == {"recommended": {"key-block": 1}}
    scope = planned[0].key.scope
    assert world.companions.state.stale_served == {"recommended": {scope: {"key": 1}}}
    assert found.truths[index] == version
    assert list(found.truths) == [key.index for key in world.plan.all_keys]
    assert world.commands[0].probe_keys == sorted(change.key.index for change in planned)


async def test_a_driver_that_fails_ends_the_changes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(_plan(), tmp_path, fails=InvalidRunError("no driver"))
    ended = asyncio.Event()

    class Endless:
        async def make(self, start: float) -> Made:
            del start
            try:
                await asyncio.Event().wait()
                raise AssertionError("nothing ends it")
            finally:
                ended.set()

    @asynccontextmanager
    async def ready(*_: Any, **__: Any) -> AsyncIterator[Endless]:
        yield Endless()

    async def started() -> None:
        await asyncio.sleep(0)

    world.until = started
    monkeypatch.setattr("harness.experiment.measure.ready_to_change", ready)
    with pytest.raises(InvalidRunError, match="no driver"):
        await world.measure("changes")
    assert ended.is_set()


def _fault_plan(**fault: Any) -> RunPlan:
    """One fault, at once and for a moment, in a window that the driver ends."""
    raw = load_scenario("faults-smoke").model_dump(by_alias=True)
    one = {"what": "redis-hang", "for_s": 0.01, "at_s": 0.0, **fault}
    scenario = Scenario.model_validate(raw | {"fault": [one]})
    plan = make_plan(scenario, [reference_arm(load_variants()["recommended"])], stack="embedded")
    return replace(plan, settings=replace(plan.settings, ttl_s=0.01))


@pytest.fixture
def asked_of_changes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the changes of a window, in order."""
    asked: list[str] = []

    class Changed:
        async def make(self, start: float, *, judge: bool) -> Made:
            assert 0 <= time.monotonic() - start < 60
            asked.append(f"make, judge={judge}")
            return Made()

        async def judge(self, start: float, postgres: Any) -> Made:
            assert 0 <= time.monotonic() - start < 60
            asked.append(f"judge by {type(postgres).__name__}")
            return Made()

    @asynccontextmanager
    async def ready(observer: Any, changes: Any, on_made: Any) -> AsyncIterator[Changed]:
        del observer, on_made
        asked.append(f"ready for {len(changes)}")
        yield Changed()

    monkeypatch.setattr("harness.experiment.measure.ready_to_change", ready)
    return asked


@pytest.mark.parametrize(
    ("what", "anew"),
    [("redis-hang", []), ("replica-term", ["read anew 1"]), ("redis-late", ["read anew None"])],
)
async def test_a_fault_is_broken_and_mended_while_the_load_goes_on(
    tmp_path: Path, what: str, anew: list[str], asked_of_changes: list[str]
) -> None:
    world = World(_fault_plan(what=what, replica=1), tmp_path)
    world.until = world.mended.wait
    (tmp_path / "replica.log").write_bytes(b"x" * 12)
    world.fleet.log_files = (tmp_path / "replica.log",)
    found = await world.measure("faults")
    steps = [event for event in world.events if event != "scrape"]
    assert steps == [
        "show 1/2 recommended faults",
        "at rest",
        "drive 01-faults-recommended in [('recommended', 'faults', 1)]",
        f"break {what}",
        "mend",
        "reconnect",
        *anew,
        "at rest within 60 s",
    ]
    # The counters of a process that ends are those of its last scrape: one more than those of each
    # second comes right before.
    before = world.events[: world.events.index(f"break {what}")]
    assert before[-2:] == ["scrape", "scrape"]
    assert asked_of_changes == ["ready for 1", "make, judge=False", "judge by Connection"]
    assert found.fault is not None
    assert (found.fault.planned.what, found.fault.bit, found.fault.detail) == (
        what, 3, "as planned"
    )  # fmt: skip
    assert 0 <= found.fault.begun_s <= found.fault.begun_s + 0.01 <= found.fault.ended_s
    assert len(found.scrapes) == world.scrapes
    for number, scrape in enumerate(found.scrapes, start=1):
        counted, silent = scrape.workers
        assert counted is not None
        assert (counted.sum("n_total"), silent, scrape.log_bytes) == (number, None, 12)


async def test_the_window_after_a_fault_is_like_any_other(
    tmp_path: Path, asked_of_changes: list[str]
) -> None:
    world = World(_fault_plan(), tmp_path)
    found = await world.measure("recovered")
    assert world.events[1:] == [
        "at rest",
        "drive 02-recovered-recommended in [('recommended', 'recovered', 1)]",
        "at rest",
    ]
    assert (found.fault, found.scrapes, asked_of_changes) == (None, (), [])


async def test_a_fleet_that_could_not_be_broken_ends_the_run_and_leaves_nothing_running(
    tmp_path: Path, asked_of_changes: list[str]
) -> None:
    world = World(_fault_plan(), tmp_path, cannot_break=InvalidRunError("no such process"))
    before = asyncio.all_tasks()
    with pytest.raises(InvalidRunError, match="no such process"):
        await world.measure("faults")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert asked_of_changes[-1] == "make, judge=False"
