from __future__ import annotations

import os
import random
import socket
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from harness.domain.served import WORKER_HEADER
from harness.targets.litellm.inside import serve
from harness.targets.litellm.inside.instrument import Instruments
from harness.targets.litellm.inside.settings import Settings
from harness.targets.settings import SETTINGS_VARIABLE
from harness.targets.workers import WORKER_VARIABLE, worker_name

SETTINGS = Settings(
    variant="litellm==1.84.0rc1", version="1.84.0rc1", dsn="postgresql://nowhere/x", ttl_s=5.0
)


@pytest.mark.parametrize("installed", ["1.84.0rc1", "1.84.0-rc.1"])
def test_a_release_is_shown_under_its_own_name(installed: str) -> None:
    serve.check_release("1.84.0rc1", installed)


@pytest.mark.parametrize("installed", ["1.84.0", "1.107.2"])
def test_no_release_is_shown_under_the_name_of_another(
    installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an image holds, it is refused before any of it is imported or anything listens."""
    monkeypatch.setenv(SETTINGS_VARIABLE, SETTINGS.encode())
    monkeypatch.setattr(metadata, "version", lambda _: installed)
    monkeypatch.setattr(serve, "listen", lambda *_: pytest.fail("it listens"))
    ended = CliRunner().invoke(serve.main, [])
    assert ended.exit_code == serve.EXIT_USAGE
    assert f"has LiteLLM [{installed}], but the fleet is of [1.84.0rc1]" in ended.output


def test_an_environment_without_litellm_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv(SETTINGS_VARIABLE, SETTINGS.encode())
    monkeypatch.setattr(metadata, "version", missing)
    ended = CliRunner().invoke(serve.main, [])
    assert ended.exit_code == serve.EXIT_USAGE
    assert "litellm" in ended.output


@pytest.mark.parametrize("status", [200, 401, 429, 500])
@pytest.mark.parametrize(("replica", "number", "name"), [(2, "1", "2.1"), (None, None, "host-a.0")])
async def test_every_reply_names_its_worker(
    status: int,
    replica: int | None,
    number: str | None,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error too: it may be what a stale worker says."""
    if number is not None:
        monkeypatch.setenv(WORKER_VARIABLE, number)
    monkeypatch.setattr(socket, "gethostname", lambda: "host-a")

    async def inner(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    worker = worker_name(replica)
    app = serve.Wrapped(inner, Instruments(SETTINGS), 9400, worker, tells_served=False)
    scope = {"type": "http", "path": "/v1/chat/completions", "server": ("127.0.0.1", 4000)}
    await app(scope, receive, send)
    told = (WORKER_HEADER.encode(), name.encode())
    assert sent[0]["headers"] == [(b"content-type", b"text/plain"), told]


async def test_a_start_that_fails_ends_the_process_once_it_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads that LiteLLM has started would keep it."""
    order: list[Any] = []
    monkeypatch.setattr(os, "_exit", order.append)

    async def inner(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "budget_duration not set"})

    async def send(message: Any) -> None:
        order.append(message["message"])

    async def receive() -> Any:
        return {}

    app = serve.Wrapped(inner, Instruments(SETTINGS), 9400, "0", tells_served=False)
    await app({"type": "lifespan"}, receive, send)
    assert order == ["budget_duration not set", serve.EXIT_NOT_STARTED]


def test_workers_of_one_number_draw_the_same_periods_and_others_do_not() -> None:
    def drawn(worker: str) -> list[int]:
        module = ModuleType("proxy_server")
        module.random = random  # type: ignore[attr-defined]  # as `import random` does
        serve.draw_alike(module, worker)
        return [module.random.randint(0, 60) for _ in range(9)]

    assert drawn("0.0") == drawn("0.0")
    assert drawn("0.0") != drawn("0.1")
