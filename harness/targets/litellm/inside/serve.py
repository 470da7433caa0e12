"""Runs one replica of a LiteLLM release, inside the release's own environment.

A replica has one listening socket and, for each worker, a socket on which only that worker serves
its metrics, as the reference proxy has.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

import click
import uvicorn
from packaging.version import Version

from harness.domain.series import CHAT_ROUTE, MODELS_ROUTE, OTHER_ROUTE, PENDING, HookPoint
from harness.domain.served import SERVED_HEADER, WORKER_HEADER, format_served
from harness.targets.litellm.inside.guard import Watch
from harness.targets.litellm.inside.instrument import Instruments
from harness.targets.litellm.inside.proxy_config import environment, proxy_config
from harness.targets.litellm.inside.request import Request
from harness.targets.litellm.inside.settings import BOOT, Settings
from harness.targets.settings import MASTER_KEY_VARIABLE, SETTINGS_VARIABLE
from harness.targets.workers import listen, replica_options, run_workers, worker_name

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_ROUTES = {
    CHAT_ROUTE: CHAT_ROUTE,
    "/chat/completions": CHAT_ROUTE,
    MODELS_ROUTE: MODELS_ROUTE,
    "/models": MODELS_ROUTE,
}
_SERVED = SERVED_HEADER.encode()
_WORKER = WORKER_HEADER.encode()

EXIT_USAGE = 2
EXIT_NOT_STARTED = 3
SHUTDOWN_S = 8


def run_worker(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """Serve on sockets that are listening already, until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # uvicorn raises the signal that ended it again at its end; our own clean-up comes after that.
    signal.signal(signal.SIGTERM, lambda *_: None)
    master_key = os.environ.setdefault(MASTER_KEY_VARIABLE, f"sk-{secrets.token_hex(16)}")
    with tempfile.TemporaryDirectory(prefix="authcache-litellm-") as folder:
        # JSON is YAML; LiteLLM requires the suffix.
        config_file = Path(folder, "config.yaml")
        config_file.write_text(json.dumps(proxy_config(settings, master_key)), encoding="utf-8")
        if settings.config_folder:
            link_modules(Path(settings.config_folder), Path(folder))
        os.environ.update(environment(settings, str(config_file)))
        instruments = Instruments(settings)
        inner = instruments.wrap(stand_in=not settings.real_prisma)
        draw_alike(sys.modules["litellm.proxy.proxy_server"], worker_name(settings.replica))
        metrics_port = sockets[1].getsockname()[1]
        app = Wrapped(
            inner,
            instruments,
            metrics_port,
            worker_name(settings.replica),
            tells_served=settings.served_header,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                interface="asgi3",
                lifespan="on",
                access_log=False,
                log_config=None,
                timeout_keep_alive=300,
                timeout_graceful_shutdown=SHUTDOWN_S,
            )
        )
        server.run(sockets=list(sockets))
        if not server.started:
            sys.exit(EXIT_NOT_STARTED)


def draw_alike(module: ModuleType, worker: str) -> None:
    """Give a module random numbers that depend on the number of the worker alone.

    LiteLLM draws the periods of its timers at start, and a flush of spend evicts memberships. Two
    variants must not differ by that. Where others draw first, a seed for all of them does not help.
    """
    vars(module)["random"] = random.Random(worker)


def link_modules(source: Path, folder: Path) -> None:
    """Link the Python files and folders of one folder in another.

    LiteLLM looks beside its configuration for the code that the configuration names.
    """
    for path in source.iterdir():
        if path.suffix == ".py" or (path.is_dir() and path.name.isidentifier()):
            (folder / path.name).symlink_to(path)


def check_release(asked: str, installed: str) -> None:
    """Refuse to run one release under the name of another, as an image could.

    An environment was checked when it was chosen; an image was not. The refused release is never
    asked for, so this refuses it too, before anything of it is imported.

    Args:
        asked: the release that the fleet is named after.
        installed: the one that this environment has.

    Raises:
        ValueError: they differ.
    """
    if Version(asked) != Version(installed):
        raise ValueError(
            f"this environment has LiteLLM [{installed}], but the fleet is of [{asked}]; "
            "name the release that it has, or use the environment or image of the other"
        )


@click.command()
@replica_options
def main(
    listen_fd: int | None,
    metrics_fds: tuple[int, ...],
    host: str,
    port: int,
    metrics_port: int,
    workers: int,
) -> None:
    """Run one replica. Its settings are JSON in AUTHCACHE_PROXY_SETTINGS."""
    try:
        settings = Settings.decode(os.environ[SETTINGS_VARIABLE])
        check_release(settings.installed or settings.version, metadata.version("litellm"))
        if listen_fd is None:
            listen_fd = listen(host, port)
            metrics_fds = tuple(listen(host, metrics_port + i) for i in range(workers))
    except (KeyError, ValueError, OSError, metadata.PackageNotFoundError) as error:
        click.echo(f"error: {type(error).__name__}: {error}", err=True)
        sys.exit(EXIT_USAGE)
    if len(metrics_fds) > 1:
        sys.exit(run_workers([sys.executable, "-P", str(BOOT)], listen_fd, metrics_fds))
    sockets = [socket.socket(fileno=fd) for fd in (listen_fd, *metrics_fds)]
    run_worker(settings, sockets)


@dataclass(slots=True)
class Reply:
    """What is known of one reply while it is made."""

    status: int = 500
    request: Request | None = None


class Wrapped:
    """LiteLLM's application, watched from outside.

    Args:
        inner: ``litellm.proxy.proxy_server.app``.
        instruments: what was wrapped in this worker.
        metrics_port: connections to this port ask for the worker's own metrics.
        worker: the value of the worker header, which every reply but those of health checks has.
        tells_served: whether replies carry the served header.
    """

    def __init__(
        self,
        inner: Asgi,
        instruments: Instruments,
        metrics_port: int,
        worker: str,
        *,
        tells_served: bool,
    ) -> None:
        self._inner = inner
        self._instruments = instruments
        self._metrics_port = metrics_port
        self._worker = (_WORKER, worker.encode())
        self._tells_served = tells_served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "lifespan":
            self._instruments.on_loop()
            await self._inner(scope, receive, self._lifespan(send))
        elif scope["type"] != "http":
            await self._inner(scope, receive, send)
        elif scope["server"][1] == self._metrics_port:
            await self._show(scope, send)
        elif scope["path"].startswith("/health"):
            # Readiness checks come before any load and are no part of it.
            await self._inner(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    def _lifespan(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._instruments.after_startup()
            await send(message)
            if message["type"] == "lifespan.startup.failed":
                # uvicorn has logged it. Threads that LiteLLM has started and will not stop would
                # keep the loop, and so the process, for ever.
                logging.shutdown()
                os._exit(EXIT_NOT_STARTED)

        return watched

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        guard, reply = self._instruments.requests.guard, Reply()

        async def told(message: Message) -> None:
            await send(guard.run(HookPoint.REQUESTS, self._told, reply, message) or message)

        steps = guard.begin(HookPoint.REQUESTS, self._watch, (scope, reply), {})
        try:
            await self._inner(scope, receive, told)
        except BaseException as error:
            guard.end(HookPoint.REQUESTS, steps, None, error)
            raise
        guard.end(HookPoint.REQUESTS, steps, None, None)

    def _told(self, reply: Reply, message: Message) -> Message:
        """A message of the reply, with the headers of the worker and of what was served."""
        if message["type"] != "http.response.start":
            return message
        reply.status = message["status"]
        told = [self._worker]
        if reply.request is not None and reply.request.served and self._tells_served:
            told.append((_SERVED, format_served(reply.request.served).encode()))
        return {**message, "headers": [*message.get("headers", ()), *told]}

    def _watch(self, scope: Scope, reply: Reply) -> Watch:
        start = time.perf_counter()
        metrics, requests = self._instruments.metrics, self._instruments.requests
        route = _ROUTES.get(scope["path"], OTHER_ROUTE)
        request = reply.request = requests.begin(scoped=route != OTHER_ROUTE)
        metrics.request_started()
        try:
            yield
            request.end()
        finally:
            seconds = time.perf_counter() - start
            metrics.request_done(route, reply.status, request.scope, seconds)
        if route == CHAT_ROUTE and reply.status == 200:  # noqa: PLR2004 - the one that is served
            requests.guard.answered += 1

    async def _show(self, scope: Scope, send: Send) -> None:
        """Serve the worker's metrics; a request for what is pending also flushes the spend."""
        names = parse_qs(scope["query_string"].decode()).get("name[]", [])
        if names == [PENDING]:
            self._instruments.flush_spend()
        self._instruments.refresh()
        body, content_type = self._instruments.metrics.render(names)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    main()
