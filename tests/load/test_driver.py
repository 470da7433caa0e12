"""The load driver against real sockets: counts, clocks, and every way a request can fail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import accumulate, pairwise
from pathlib import Path

import pytest

from harness.domain.population import VirtualKey, by_scope, read_keys
from harness.domain.samples import Sample, read_samples
from harness.domain.served import COST_HEADER, SERVED_HEADER, WORKER_HEADER
from harness.domain.window import (
    Begun,
    LoadProgress,
    SingleProbe,
    WindowCommand,
    WindowResult,
)
from harness.errors import InvalidRunError
from harness.load.client import LoadDriver
from harness.load.plan import by_popularity, open_plan, probe_plan
from harness.process.sockets import free_port
from tests.load.replica import FakeReplica, Reply, is_chat

# one driver for the whole module: it is long-lived, and each window must leave it as it was
pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
Window = Callable[..., WindowCommand]


def samples_of(command: WindowCommand) -> list[Sample]:
    assert command.samples_file is not None
    return list(read_samples(Path(command.samples_file)))


def assert_samples_agree(command: WindowCommand, result: WindowResult) -> None:
    """Everything in a result but the CPU time can be had from the samples."""
    samples = samples_of(command)
    assert {s.window for s in samples} == {command.window}
    assert len(samples) == result.sent
    assert sum(not s.error for s in samples) == result.answered
    assert Counter(s.error for s in samples if s.error) == result.unanswered
    assert all((s.status == 0) == bool(s.error) for s in samples)
    statuses = Counter((s.scope, str(s.status)) for s in samples if not s.error)
    assert {(a, b): n for a, by in result.statuses.items() for b, n in by.items()} == statuses
    by_key = Counter((s.key, str(s.status)) for s in samples if not s.error)
    assert {(a, b): n for a, by in result.statuses_by_key.items() for b, n in by.items()} == by_key
    replicas = Counter(s.replica for s in samples)
    assert [replicas[n] for n in range(len(command.hosts))] == result.replicas
    assert sum(s.cost_micro for s in samples) == result.cost_micro
    delays = [(s.sent_s - s.intended_s) * 1000 for s in samples]
    assert max(delays) == pytest.approx(result.delay_ms_max, abs=0.002)
    assert all(s.intended_s <= s.sent_s + 1e-6 and s.sent_s <= s.done_s for s in samples)


def most_outstanding(samples: list[Sample]) -> int:
    # where one ends as another begins, both count
    moments = [(s.sent_s, 0, 1) for s in samples] + [(s.done_s, 1, -1) for s in samples]
    return max(accumulate(step for _, _, step in sorted(moments)))


async def test_probes_beside_the_load_come_among_its_arrivals(
    driver: LoadDriver, window: Window, keys: list[VirtualKey], keys_file: Path
) -> None:
    async with FakeReplica() as replica:
        command = window([replica.url], beside=True, probe_keys=[keys[0].index], probe_every_s=0.05)
        result = await driver.window(command)
    load = open_plan(
        command.mix,
        by_scope(read_keys(keys_file)),
        rate_per_s=command.rate_per_s,
        duration_s=command.duration_s,
        replicas=1,
        seed=command.seed,
    )
    probes = probe_plan(
        [(keys[0].index, keys[0].scope)],
        every_s=0.05,
        duration_s=command.duration_s,
        replicas=1,
        workers=1,
        seed=command.seed,
    )
    assert load
    assert probes
    assert result.planned == result.sent == len(load) + len(probes)
    wanted = Counter((a.key, round(a.intended_s or 0.0, 6)) for a in (*load, *probes))
    assert Counter((s.key, s.intended_s) for s in samples_of(command)) == wanted


@pytest.mark.parametrize(("balancer", "duration_s"), [("blind", 2.0), ("probed", 7.0)])
async def test_a_probing_balancer_leaves_out_a_replica_until_it_answers_again(
    driver: LoadDriver, window: Window, balancer: str, duration_s: float
) -> None:
    """Its health is asked for without a secret, and is not answered until others were preferred."""
    well = asyncio.Event()

    def ill(secret: str, _number: int) -> Reply:
        return Reply() if secret or well.is_set() else Reply(delay_s=60.0)

    def chats(replica: FakeReplica) -> int:
        return sum(n for secret, n in replica.secrets.items() if secret)

    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(FakeReplica(ill))
        other = await stack.enter_async_context(FakeReplica())
        served: list[int] = []

        def look(_: LoadProgress) -> None:
            if not well.is_set() and chats(other) >= chats(one) + 20:
                served.append(chats(one))
                well.set()

        command = window(
            [one.url, other.url],
            duration_s=duration_s,
            rate_per_s=100.0,
            balancer=balancer,
            drop_after_s=0.5,
            health_path="/health",
        )
        result = await driver.window(command, look)
        at_last = chats(one)
    assert result.unanswered == {}
    assert result.replicas == [Counter(s.replica for s in samples_of(command))[n] for n in range(2)]
    if balancer == "blind":
        assert served == []
        assert abs(result.replicas[0] - result.replicas[1]) <= 1
    else:
        assert at_last > served[0], "it is used again"
        assert result.replicas[0] < result.replicas[1]


@pytest.mark.parametrize("zipf", [0.0, 1.1])
async def test_an_open_window_is_its_plan_to_the_request(
    driver: LoadDriver, window: Window, keys: list[VirtualKey], zipf: float, keys_file: Path
) -> None:
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(FakeReplica()) for _ in range(3)]
        command = window([r.url for r in replicas], zipf=zipf)
        result = await driver.window(command)
    plan = open_plan(
        command.mix,
        by_scope(read_keys(keys_file)),
        rate_per_s=command.rate_per_s,
        duration_s=command.duration_s,
        replicas=3,
        seed=command.seed,
        zipf=zipf,
    )
    assert (result.planned, result.sent, result.answered) == (len(plan),) * 3
    assert result.replicas == [r.requests for r in replicas]
    assert max(result.replicas) - min(result.replicas) <= 1
    wire = sum((r.secrets for r in replicas), Counter[str]())
    assert wire == Counter(keys[a.key].secret for a in plan)
    sent = sorted(samples_of(command), key=lambda s: s.intended_s)
    assert [(round(a.intended_s or 0, 6), *a[1:]) for a in plan] == [
        (s.intended_s, s.scope, s.key, s.replica) for s in sent
    ]
    assert (result.unanswered, result.late) == ({}, 0)
    assert result.elapsed_s >= command.duration_s
    assert result.cpu_s > 0
    assert_samples_agree(command, result)
    assert all(is_chat(body) for r in replicas for body in r.bodies)
    assert {path for r in replicas for path in r.paths} == {"POST /v1/chat/completions HTTP/1.1"}


async def test_a_closed_load_follows_the_popularity_of_the_keys(
    driver: LoadDriver, window: Window, keys_file: Path
) -> None:
    async with FakeReplica() as replica:
        command = window([replica.url], model="closed", zipf=10.0, duration_s=0.3)
        await driver.window(command)
    popular = {by_popularity(s, row)[0] for s, row in by_scope(read_keys(keys_file)).items()}
    drawn = Counter(sample.key in popular for sample in samples_of(command))
    assert drawn[True] > 20 * drawn[False]  # a thousand times on average


async def test_users_share_connections(driver: LoadDriver, window: Window) -> None:
    async with FakeReplica() as replica:
        command = window([replica.url], users=64)
        result = await driver.window(command)
    assert result.answered == replica.requests > 64
    assert replica.connections <= most_outstanding(samples_of(command))


async def test_statuses_costs_and_served_objects_are_kept_by_scope(
    driver: LoadDriver, window: Window, keys: list[VirtualKey]
) -> None:
    scopes = {k.secret: k.scope for k in keys}
    served = {"team": "key;memory;aa;7,team;redis;bb;-", "member": "key;source;cc;0"}

    def behave(secret: str, _: int) -> Reply:
        scope = scopes[secret]
        headers = ((COST_HEADER, "0.00025"), (SERVED_HEADER, served.get(scope, "")))
        return Reply(401 if scope == "member" else 200, headers)

    async with FakeReplica(behave) as replica:
        command = window([replica.url])
        result = await driver.window(command)
    sent = Counter(s.scope for s in samples_of(command))
    assert result.statuses == {
        s: {"401" if s == "member" else "200": n} for s, n in sorted(sent.items())
    }
    assert result.cost_micro == 250 * (result.sent - sent["member"])
    counted = Counter[tuple[str, str, str, str, int | None]]()
    for entry in result.served:
        assert keys[entry.key_index].scope == entry.scope
        place = (entry.scope, entry.object, entry.tier, entry.digest, entry.age_ms_max)
        counted[place] += entry.count
    assert counted == {
        ("team", "key", "memory", "aa", 7): sent["team"],
        ("team", "team", "redis", "bb", None): sent["team"],
        ("member", "key", "source", "cc", 0): sent["member"],
    }
    assert {s.served for s in samples_of(command) if s.scope == "team"} == {served["team"]}
    assert_samples_agree(command, result)


async def test_a_window_that_cannot_keep_up_is_late_and_short_but_bounded(
    driver: LoadDriver, window: Window
) -> None:
    async with FakeReplica(lambda *_: Reply(delay_s=0.1)) as replica:
        command = window([replica.url], users=1, late_ms=200)
        result = await driver.window(command)
    # one user and 100 ms a reply: at most 12 or so of about 100
    assert 0 < result.sent < 20 < result.planned
    assert result.sent == result.answered == replica.requests
    assert 0 < result.late <= result.sent
    assert result.delay_ms_max > 200
    assert result.late == sum(s.sent_s - s.intended_s > 0.2 for s in samples_of(command))
    assert_samples_agree(command, result)


async def test_a_closed_window_starts_nothing_after_its_end_and_waits_for_the_rest(
    driver: LoadDriver, window: Window
) -> None:
    async with AsyncExitStack() as stack:
        slow = FakeReplica(lambda *_: Reply(delay_s=0.3))
        replicas = [await stack.enter_async_context(r) for r in (slow, FakeReplica())]
        command = window([r.url for r in replicas], model="closed", users=5, ramp_s=0.2)
        result = await driver.window(command)
        seen = [r.requests for r in replicas]
        assert result.replicas == seen
    assert result.planned == result.sent == result.answered
    assert result.sent > 5
    assert (result.late, result.delay_ms_max) == (0, 0)
    samples = samples_of(command)
    assert max(s.sent_s for s in samples) < command.duration_s + 0.3
    assert max(s.done_s for s in samples) > command.duration_s, "the slow ones were awaited"
    assert result.elapsed_s >= max(s.done_s for s in samples)
    assert all(s.intended_s == s.sent_s for s in samples)
    assert_samples_agree(command, result)


async def test_closed_users_keep_one_request_outstanding_each(
    driver: LoadDriver, window: Window
) -> None:
    async with FakeReplica(lambda *_: Reply(delay_s=0.02)) as replica:
        command = window([replica.url], model="closed", users=3)
        result = await driver.window(command)
    assert most_outstanding(samples_of(command)) == 3
    assert result.sent > 6


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(raw=b"", then="close"), "connection_reset"),
        (Reply(raw=b"", then="reset"), "connection_reset"),
        (Reply(delay_s=30), "timeout"),
        (Reply(drip_s=0.2), "timeout"),
        (Reply(raw=b"what is this?\r\n\r\n", then="close"), "other"),
        (Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx", then="close"), "other"),
        (Reply(raw=b"HTTP/1.1 500 No\r\ncontent-length: 99\r\n\r\nx", then="close"), "other"),
        (Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx", delay_s=0.0), "timeout"),
        (Reply(headers=(("content-encoding", "rot13"),)), "other"),
        (Reply(500, body=b"\xff\xfe"), "other"),
    ],
)
async def test_each_way_to_fail_has_its_kind_and_is_not_tried_again(
    driver: LoadDriver, window: Window, reply: Reply, kind: str
) -> None:
    async with FakeReplica(lambda *_: reply) as replica:
        timeout_s = 0.5 if kind == "timeout" else 30.0
        command = window([replica.url], rate_per_s=40, duration_s=0.5, timeout_s=timeout_s)
        result = await driver.window(command)
    assert result.unanswered == {kind: result.sent}
    assert result.sent == result.planned == replica.requests > 5
    assert (result.answered, result.statuses) == (0, {})
    assert_samples_agree(command, result)


async def test_a_time_out_bounds_the_whole_request(driver: LoadDriver, window: Window) -> None:
    async with FakeReplica(lambda *_: Reply(drip_s=0.1)) as replica:
        command = window([replica.url], rate_per_s=10, timeout_s=0.5)
        await driver.window(command)
    # each byte comes in time, the reply as a whole would take several seconds
    assert len(Reply().encoded()) * 0.1 > 5
    assert all(0.4 < s.done_s - s.sent_s < 5 for s in samples_of(command))


async def test_a_refused_connection_is_one_unanswered_request(
    driver: LoadDriver, window: Window
) -> None:
    async with FakeReplica() as replica:
        command = window([f"http://127.0.0.1:{free_port()}", replica.url])
        result = await driver.window(command)
    assert result.unanswered == {"connection_refused": result.replicas[0]}
    assert result.answered == result.replicas[1] == replica.requests
    assert_samples_agree(command, result)


async def test_a_redirect_is_an_answer_and_not_followed(driver: LoadDriver, window: Window) -> None:
    async with FakeReplica() as other, FakeReplica() as replica:
        location = (("location", f"{other.url}/v1/chat/completions"),)
        replica.behave = lambda *_: Reply(307, location)
        result = await driver.window(window([replica.url]))
    assert other.requests == 0
    assert result.sent == result.answered == replica.requests
    assert {status for by in result.statuses.values() for status in by} == {"307"}


async def test_a_cookie_set_for_one_key_does_not_go_along_with_another(
    driver: LoadDriver, window: Window
) -> None:
    cookie = (("set-cookie", "session=of-one-key; Path=/"),)
    async with FakeReplica(lambda *_: Reply(headers=cookie)) as replica:
        result = await driver.window(window([replica.url], users=1))
    assert result.answered == replica.requests > 10
    assert "authorization" in replica.header_names
    assert "cookie" not in replica.header_names


async def test_connections_closed_while_idle_lose_no_request_twice(
    driver: LoadDriver, window: Window
) -> None:
    async with FakeReplica(lambda *_: Reply(then="close")) as replica:
        command = window([replica.url], users=2)
        result = await driver.window(command)
    # one that meets the closing in flight is reset; nothing is sent again
    assert set(result.unanswered) <= {"connection_reset"}
    assert result.answered == replica.requests
    assert result.sent == result.answered + sum(result.unanswered.values())
    assert_samples_agree(command, result)


async def test_a_replica_that_dies_in_the_middle_leaves_exact_counts(
    driver: LoadDriver, window: Window
) -> None:
    replica = FakeReplica()

    def behave(_: str, number: int) -> Reply:
        if number == 30:
            replica.die()
        return Reply()

    replica.behave = behave
    async with FakeReplica() as other, replica:
        command = window([other.url, replica.url])
        result = await driver.window(command)
    lost = sum(result.unanswered.values())
    assert set(result.unanswered) <= {"connection_reset", "connection_refused"}
    assert result.unanswered["connection_refused"] > 0
    assert result.sent == result.planned == result.answered + lost
    assert result.replicas[0] == other.requests
    assert result.replicas[1] == 29 + lost
    assert_samples_agree(command, result)


async def test_windows_follow_each_other_and_share_nothing(
    driver: LoadDriver, window: Window, tmp_path: Path
) -> None:
    async with FakeReplica() as first, FakeReplica() as second:
        results = []
        for number, replica in enumerate((first, second)):
            path = tmp_path / f"{number}.csv.gz"
            command = window([replica.url], window=f"w{number}", samples_file=str(path))
            results.append(await driver.window(command))
            assert_samples_agree(command, results[-1])
        assert first.requests == second.requests == results[0].sent
    same = {"window", "elapsed_s", "cpu_s", "delay_ms_max", "delay_ms_median", "late"}
    assert results[0].model_dump(exclude=same) == results[1].model_dump(exclude=same)


async def test_a_window_may_go_without_samples(driver: LoadDriver, window: Window) -> None:
    async with FakeReplica() as replica:
        command = window([replica.url], samples_file=None)
        result = await driver.window(command)
    assert result.answered == replica.requests > 0


async def test_progress_is_reported_while_a_window_runs(driver: LoadDriver, window: Window) -> None:
    reports: list[LoadProgress] = []
    async with FakeReplica(lambda _, n: Reply(500 if n % 2 else 200)) as replica:
        result = await driver.window(window([replica.url], duration_s=2.5), reports.append)
    assert reports
    assert {r.window for r in reports} == {"w"}
    assert all(a.answered <= b.answered and a.elapsed_s < b.elapsed_s for a, b in pairwise(reports))
    assert 0 < reports[-1].failed < reports[-1].answered <= result.answered
    assert any(r.requests_per_s > 0 for r in reports)
    last = reports[-1]
    assert sum(n for statuses in last.statuses.values() for n in statuses.values()) == last.answered
    assert all(a.due <= b.due for a, b in pairwise(reports))
    assert last.answered <= last.due <= result.planned
    assert last.late <= result.late
    assert 0 < last.delay_ms_max <= result.delay_ms_max


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mix": {"unheard_of": 1.0}}, r"scope \[unheard_of\]"),
        ({"users": 0}, r"got \[0\]"),
        ({"rate_per_s": 0.0}, r"rate of an open load is \[0"),
        ({"hosts": []}, r"at least one host"),
        ({"keys_file": "/nowhere/keys.json"}, r"nowhere/keys\.json"),
        ({"samples_file": "/nowhere/samples.gz"}, r"nowhere/samples\.gz"),
    ],
)
async def test_a_command_that_cannot_be_carried_out_leaves_the_driver_up(
    driver: LoadDriver, window: Window, changes: dict[str, object], message: str
) -> None:
    async with FakeReplica() as replica:
        with pytest.raises(InvalidRunError, match=message):
            await driver.window(window([replica.url]).model_copy(update=changes))
        assert replica.requests == 0
        result = await driver.window(window([replica.url], duration_s=0.3))
        assert result.answered == replica.requests


async def test_headers_without_sense_make_the_window_invalid(
    driver: LoadDriver, window: Window
) -> None:
    async with FakeReplica(lambda *_: Reply(headers=((COST_HEADER, "free"),))) as replica:
        with pytest.raises(InvalidRunError, match=r"invalid headers.*\[free\]"):
            await driver.window(window([replica.url]))


async def test_two_drivers_can_drive_at_once(
    driver: LoadDriver, window: Window, tmp_path: Path
) -> None:
    second = LoadDriver(tmp_path / "second.log")
    await second.start()
    try:
        async with FakeReplica() as replica:
            results = await asyncio.gather(
                driver.window(window([replica.url])),
                second.window(window([replica.url], samples_file=None)),
            )
            assert sum(r.sent for r in results) == replica.requests
    finally:
        await second.close()


async def test_a_window_of_probes_is_its_plan_and_says_when_it_begins(
    driver: LoadDriver, window: Window, keys: list[VirtualKey]
) -> None:
    begun: list[Begun] = []
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                FakeReplica(lambda _, __, name=name: Reply(headers=((WORKER_HEADER, name),)))  # type: ignore[misc]
            )
            for name in ("0.0", "1.0")
        ]
        command = window(
            [r.url for r in replicas],
            duration_s=1.0,
            probe_keys=[1, 4],
            probe_every_s=0.2,
            workers=2,
            mix={},
            rate_per_s=0.0,
        )
        before = time.monotonic()
        result = await driver.window(command, None, begun.append)
        after = time.monotonic()
    probed = [(index, keys[index].scope) for index in (1, 4)]
    plan = probe_plan(probed, every_s=0.2, duration_s=1.0, replicas=2, workers=2, seed=command.seed)
    assert (result.planned, result.sent, result.answered) == (len(plan),) * 3
    samples = sorted(samples_of(command), key=lambda s: s.intended_s)
    assert [(round(a.intended_s or 0, 6), *a[1:]) for a in plan] == [
        (s.intended_s, s.scope, s.key, s.replica) for s in samples
    ]
    assert {(s.replica, s.worker) for s in samples} == {(0, "0.0"), (1, "1.0")}
    # All processes of a machine share the monotonic clock.
    (event,) = begun
    assert event.window == command.window
    assert before <= event.monotonic_s <= event.monotonic_s + result.elapsed_s <= after
    assert_samples_agree(command, result)


async def test_a_key_that_is_not_there_cannot_be_probed(driver: LoadDriver, window: Window) -> None:
    command = window(["http://127.0.0.1:9"], probe_keys=[99], probe_every_s=1.0)
    with pytest.raises(InvalidRunError, match=r"Key \[99\] is to be probed"):
        await driver.window(command)


async def test_single_probes_are_sent_at_their_moments_beside_regular_ones_or_alone(
    driver: LoadDriver, window: Window, keys: list[VirtualKey]
) -> None:
    single = [SingleProbe(key=2, replica=0, at_s=0.7), SingleProbe(key=3, replica=0, at_s=0.05)]
    async with FakeReplica(lambda _, __: Reply()) as replica:
        for regular in ([], [1]):
            command = window(
                [replica.url],
                duration_s=1.0,
                probe_keys=regular,
                probe_every_s=0.2,
                single_probes=single,
                mix={},
                rate_per_s=0.0,
            )
            result = await driver.window(command)
            samples = sorted(samples_of(command), key=lambda s: s.intended_s)
            found = [(s.key, s.intended_s) for s in samples if s.key != 1]
            assert found == [(3, 0.05), (2, 0.7)]
            assert len(samples) == result.planned == 2 + 5 * len(regular)
            assert {s.scope for s in samples if s.key == 2} == {keys[2].scope}


async def test_a_key_that_is_not_there_cannot_be_probed_once(
    driver: LoadDriver, window: Window
) -> None:
    single = [SingleProbe(key=99, replica=0, at_s=0.1)]
    command = window(["http://127.0.0.1:9"], single_probes=single)
    with pytest.raises(InvalidRunError, match=r"Key \[99\] is to be probed"):
        await driver.window(command)
