"""How a recording begins and ends, before a Prometheus that is faked at its socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.process.processes import Command, Process
from harness.prometheus import recorder
from harness.prometheus.binaries import Binary
from harness.prometheus.recorder import UNFINISHED, recording, scraped_after
from tests.programs import promtool


class FakePrometheus:
    """A host that starts a server which is ready and answers queries as the test says."""

    def __init__(self, last_scrapes: Iterator[bool]) -> None:
        self.asked: list[str] = []
        self.dismissed = False
        self._last_scrapes = last_scrapes
        self._server: asyncio.Task[asyncio.Server] | None = None

    def spawn_sidecar(self, command: Command) -> Process:
        option = next(o for o in map(str, command.argv) if o.startswith("--web.listen-address="))
        port = int(option.rpartition(":")[2])
        self._server = asyncio.create_task(asyncio.start_server(self._serve, "127.0.0.1", port))
        return cast("Process", self)

    async def stop_sidecars(self, group: str) -> None:
        assert group
        assert self._server is not None
        (await self._server).close()
        self.dismissed = True

    def ended(self) -> bool:
        return False

    def exit_report(self) -> str:
        return ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        body = json.dumps(self._answer(path)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ")
        writer.write(b"%d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    def _answer(self, path: str) -> Any:
        query = parse_qs(urlsplit(path).query).get("query", [""])[0]
        self.asked.append(query)
        is_there = next(self._last_scrapes) if "timestamp" in query else True
        rows = [{"metric": {}, "value": [1.0, "1"]}] if is_there else []
        return {"status": "success", "data": {"resultType": "vector", "result": rows}}


async def _recorded(folder: Path, last_scrapes: Iterator[bool]) -> tuple[FakePrometheus, list[str]]:
    host, notes = FakePrometheus(last_scrapes), list[str]()
    binary = Binary(Path("prometheus"), "test", "any")
    async with (
        asyncio.timeout(60),
        recording(
            binary,
            host,
            folder,
            [],
            "127.0.0.1:1",
            log_file=folder / "prometheus.log",
            rules=None,
            note=notes.append,
        ),
    ):
        assert not any("timestamp" in query for query in host.asked)
    assert host.dismissed
    return host, notes


async def test_a_last_scrape_is_asked_for_until_it_is_there(tmp_path: Path) -> None:
    host, notes = await _recorded(tmp_path, iter([False, False, True]))
    assert sum("timestamp" in query for query in host.asked) == 3
    assert notes == []


async def test_a_last_scrape_that_does_not_come_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_LAST_SCRAPE_TIMEOUT_S", 0.3)
    _, notes = await _recorded(tmp_path, iter(lambda: False, True))
    assert notes == [UNFINISHED]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("first", "second", "scraped"),
    [
        ("1 1 1 1 1", "1 1 1 1 1", True),
        ("1 1 1 1 1", "1 1 1 1 0", False),
        ("1 1 1 1 1", "1 1 1 1 _", False),
        ("1 1 1 1 1", "0 0 0 0 1", True),
    ],
)
def test_the_last_scrape_of_every_target_must_succeed(
    tmp_path: Path, first: str, second: str, scraped: bool
) -> None:
    """Asked of promtool: scrapes at 0, 1, 2, 3 and 4 s, of which the last is the one awaited."""
    asked = {
        "expr": scraped_after(3.5),
        "eval_time": "4s",
        "exp_samples": [{"value": 2}] if scraped else [],
    }
    series = [
        {"series": f'up{{instance="{n}"}}', "values": v} for n, v in enumerate((first, second))
    ]
    test = {"interval": "1s", "input_series": series, "promql_expr_test": [asked]}
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"evaluation_interval": "1s", "tests": [test]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
