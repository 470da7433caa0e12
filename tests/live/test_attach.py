"""`harness clock --attach`: a gateway of a few lines stands in for a fleet that runs already."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from harness.analysis.studies import clock
from harness.cli import main
from harness.domain.result import Result
from harness.errors import InvalidRunError, UsageError
from harness.live.attach import MOST_PER_S, NAME, Attached, attach, check_addresses
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario

URLS = ("http://127.0.0.1:1", "http://127.0.0.1:2")
MASTER = "sk-master-of-a-fleet"
TTL_S = 0.4


@dataclass
class Gateway(httpx.AsyncBaseTransport):
    """Two addresses that each keep what they knew of a key for so long, whatever is changed."""

    kept_s: float = 0.0
    missing: tuple[str, ...] = ()
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    teams: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    asked: list[float] = field(default_factory=list)
    copies: dict[tuple[int, str], tuple[float, bool]] = field(default_factory=dict)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body, path = json.loads(request.content), request.url.path
        secret = request.headers["authorization"].removeprefix("Bearer ")
        if path == "/v1/chat/completions":
            self.asked.append(time.monotonic())
            admitted = self.admits(request.url.port or 0, secret, body["model"])
            return httpx.Response(200 if admitted else 401, json={})
        if path in self.missing:
            return httpx.Response(404, json={})
        if secret != MASTER:
            return httpx.Response(401, json={})
        return httpx.Response(self.manage(path, body), json={"of": body.get("key", "")})

    def admits(self, port: int, secret: str, model: str) -> bool:
        read_at, known = self.copies.get((port, secret), (-1.0, False))
        if read_at < 0 or time.monotonic() - read_at >= self.kept_s:
            key = self.keys.get(secret, {"blocked": True})
            team = self.teams.get(key.get("team_id", ""), {})
            known = not (key.get("blocked") or team.get("blocked"))
            known = known and model in key.get("models", [model])
            self.copies[port, secret] = time.monotonic(), known
        return known

    def manage(self, path: str, body: dict[str, Any]) -> int:  # noqa: C901 - a table of calls
        match path, body:
            case "/key/generate", {"key": secret}:
                self.keys[secret] = dict(body)
            case "/key/block", {"key": secret}:
                self.keys[secret]["blocked"] = True
            case "/key/unblock", {"key": secret}:
                self.keys[secret]["blocked"] = False
            case "/key/update", {"key": secret}:
                self.keys[secret] |= body
            case "/key/delete", {"keys": [secret]}:
                return 200 if self.keys.pop(secret, None) else 404
            case "/team/new", {"team_id": team}:
                self.teams[team] = {}
            case "/team/block", {"team_id": team}:
                self.teams[team]["blocked"] = True
            case "/team/delete", {"team_ids": [team]}:
                return 200 if self.teams.pop(team, None) is not None else 404
            case "/user/new", {"user_id": user}:
                self.users.add(user)
            case "/user/delete", {"user_ids": [user]}:
                self.users.discard(user)
            case _:
                return 400
        return 200


def timed(*only: str) -> Scenario:
    given = load_scenario("clock", Changes(replicas=2, ttl_s=TTL_S))
    load = given.load.model_copy(update={"rate_per_s": MOST_PER_S})
    return clock(given.model_copy(update={"load": load}), only=only, watch_ttls=6)


async def run(folder: Path, gateway: Gateway, *only: str) -> tuple[Result, list[str]]:
    said: list[str] = []
    fleet = Attached(URLS, MASTER, "a-model")
    result, _ = await attach(fleet, timed(*only), folder, said.append, transport=gateway)
    return result, said


def written(folder: Path) -> str:
    """All that a run wrote but its samples."""
    files = [path for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".gz"]
    return "".join(path.read_text() for path in files)


@pytest.mark.integration
async def test_old_answers_are_timed_by_address_and_all_is_deleted(tmp_path: Path) -> None:
    gateway = Gateway(kept_s=60.0)
    result, said = await run(tmp_path, gateway, "key-block")
    found = result.freshness[NAME]["key-block"]["user"]
    assert found.handler_s is not None
    assert found.others_s is not None
    assert (found.handler_s.high, found.others_s.high) == (None, None)
    assert found.others_s.low > found.promise_s
    assert {clock.worker for clock in found.workers} == {"0", "1"}
    assert {clock.ended_by for clock in found.workers} == {"open"}
    assert [gateway.keys, gateway.teams, gateway.users] == [{}, {}, set()]
    assert not [line for line in said if "not deleted" in line]
    text = written(tmp_path)
    assert text
    assert MASTER not in text
    assert "sk-authcache" not in text


@pytest.mark.integration
async def test_a_fleet_that_keeps_nothing_is_at_once(tmp_path: Path) -> None:
    actions = ("key-block", "key-unblock", "key-new", "key-delete")
    # Each alone, and all at the same time: they wait for most of theirs.
    runs = await asyncio.gather(*(run(tmp_path / one, Gateway(), one) for one in actions))
    for action, (result, _) in zip(actions, runs, strict=True):
        (found,) = result.freshness[NAME][action].values()
        assert found.outcome == "done"
        assert {one.high is not None and not one.old_replies for one in found.workers} == {True}
        assert len(found.workers) == 2


@pytest.mark.integration
async def test_what_the_fleet_lacks_is_not_there_and_what_it_refuses_is_refused(
    tmp_path: Path,
) -> None:
    gateway = Gateway(missing=("/team/new", "/key/block"))
    result, _ = await run(tmp_path, gateway, "team-block", "key-block", "key-regenerate")
    outcomes = {action: next(iter(by.values())) for action, by in result.freshness[NAME].items()}
    assert {action: one.outcome for action, one in outcomes.items()} == {
        "team-block": "not_there",
        "key-block": "not_there",
        "key-regenerate": "refused",
    }
    assert "/team/new answered 404" in outcomes["team-block"].detail
    assert not gateway.keys


@pytest.mark.integration
async def test_the_rate_is_bounded_however_many_keys_there_are(tmp_path: Path) -> None:
    gateway = Gateway()
    await run(tmp_path, gateway, "key-block", "team-block")
    assert len(gateway.asked) > 60
    span_s = gateway.asked[-1] - gateway.asked[0]
    assert len(gateway.asked) / span_s < 1.1 * MOST_PER_S


class Broken(Gateway):
    """Goes away at the first question about a key."""

    def manage(self, path: str, body: dict[str, Any]) -> int:
        if path == "/key/block":
            raise httpx.ConnectError("gone")
        return super().manage(path, body)


@pytest.mark.integration
async def test_what_was_made_is_deleted_after_a_failure_too(tmp_path: Path) -> None:
    gateway = Broken()
    with pytest.raises(InvalidRunError, match="The fleet does not answer"):
        await run(tmp_path, gateway, "key-block")
    assert [gateway.keys, gateway.users] == [{}, set()]
    assert asyncio.all_tasks() == {asyncio.current_task()}, "none goes on to make more"


MAKING = pytest.mark.parametrize("path", ["/user/new", "/team/new", "/key/generate"])


@dataclass
class Unheard(Gateway):
    """Does what it is asked; one of its answers is lost."""

    lost: str = ""

    def manage(self, path: str, body: dict[str, Any]) -> int:
        status = super().manage(path, body)
        if path == self.lost:
            raise httpx.ReadTimeout("lost")
        return status


@MAKING
async def test_what_was_made_without_an_answer_is_deleted(tmp_path: Path, path: str) -> None:
    gateway = Unheard(lost=path)
    with pytest.raises(InvalidRunError, match="ReadTimeout"):
        await run(tmp_path, gateway, "team-block", "user-delete")
    assert [gateway.keys, gateway.teams, gateway.users] == [{}, {}, set()]


@dataclass
class Slow(Gateway):
    """Carries out a call when it may, even if the caller is gone by then, as servers do."""

    slow: str = ""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != self.slow:
            return await super().handle_async_request(request)
        return await asyncio.shield(asyncio.ensure_future(self.carry_out(request)))

    async def carry_out(self, request: httpx.Request) -> httpx.Response:
        self.begun.set()
        await self.may.wait()
        reply = await super().handle_async_request(request)
        self.done.set()
        return reply


@MAKING
async def test_what_is_being_made_when_it_is_stopped_is_deleted(tmp_path: Path, path: str) -> None:
    gateway = Slow(slow=path)
    work = asyncio.create_task(run(tmp_path, gateway, "team-block", "user-delete"))
    await gateway.begun.wait()
    work.cancel()
    for _ in range(100):
        # Time to delete too early.
        await asyncio.sleep(0)
    gateway.may.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    await gateway.done.wait()
    assert [gateway.keys, gateway.teams, gateway.users] == [{}, {}, set()]


async def test_what_the_fleet_refused_to_make_is_not_named_as_left(tmp_path: Path) -> None:
    said: list[str] = []
    fleet = Attached(URLS, "sk-of-another-fleet", "a-model")
    result, _ = await attach(fleet, timed("team-block"), tmp_path, said.append, transport=Gateway())
    (found,) = result.freshness[NAME]["team-block"].values()
    assert "answered 401" in found.detail
    assert not [line for line in said if "not deleted" in line]


class Watched(Gateway):
    """Tells when it is first asked."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    def admits(self, port: int, secret: str, model: str) -> bool:
        self.begun.set()
        return super().admits(port, secret, model)


@pytest.mark.integration
async def test_what_was_made_is_deleted_when_it_is_stopped(tmp_path: Path) -> None:
    gateway = Watched()
    work = asyncio.create_task(run(tmp_path, gateway, "key-block", "team-block"))
    await gateway.begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [gateway.keys, gateway.teams, gateway.users] == [{}, {}, set()]
    assert not written(tmp_path)


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (["http://example.org:4000"], "is not on this machine"),
        (["127.0.0.1:4000"], "is not the address of a replica"),
        (["ftp://localhost"], "is not the address of a replica"),
        (["http://localhost:1", "http://localhost:1"], "each once"),
        ([], "one or more"),
    ],
)
def test_an_address_that_must_not_be_asked_is_refused(urls: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_addresses(urls, beyond_loopback=False)


def test_another_machine_needs_a_word_of_its_own() -> None:
    assert check_addresses(["https://example.org/"], beyond_loopback=True) == (
        "https://example.org",
    )
    assert check_addresses(["http://[::1]:4000"], beyond_loopback=False) == ("http://[::1]:4000",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--admin-key-env", "A_KEY"], "--ttl-s"),
        (["--ttl-s", "2"], "holds no master key"),
        (["--ttl-s", "2", "--idle"], "Leave --idle out"),
        (["--ttl-s", "2", "--admin-key-env", "NO_SUCH"], "[NO_SUCH] holds no master key"),
        (["--ttl-s", "2", "--admin-key-env", "A_KEY", "--only", "key-limits"], "is left to time"),
        (
            ["--ttl-s", "2", "--admin-key-env", "A_KEY", "--only", "key-limits:user"],
            "[key-limits] cannot be timed",
        ),
    ],
)
def test_bad_input_ends_with_2_before_anything_is_asked(arguments: list[str], said: str) -> None:
    ended = CliRunner().invoke(
        main, ["clock", "--attach", URLS[0], *arguments], env={"A_KEY": "sk-1"}
    )
    assert ended.exit_code == 2, ended.output
    assert said in " ".join(ended.output.split())
