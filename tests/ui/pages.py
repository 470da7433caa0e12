"""Pages of workers as text, and a small server for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness.observe.counters import Counters
from harness.ui.sources import MetricsPage, Place

PLACE = Place("a", "127.0.0.1:1", 0, 0)


def text(pending: float = 0, **counts: float) -> str:
    """A page: requests, and lookups by outcome, of scope team."""
    scope = {"key_scope": "team", "variant": "a"}
    chat = {"route": "/v1/chat/completions", "status": "200", **scope}
    pair = {"level": "error", "signature": "typed_read_failed", **scope}
    lookup = {"tier": "memory", "op": "load", "object": "user", **scope}
    rows = [
        ("http_requests_total", chat, counts.get("requests", 0)),
        ("authcache_source_reads_total", {"object": "user", **scope}, counts.get("reads", 0)),
        ("authcache_log_records_total", pair, counts.get("pairs", 0)),
        ("authcache_pending", {"variant": "a"}, pending),
    ]
    rows += [
        ("authcache_lookups_total", {**lookup, "outcome": outcome}, counts.get(outcome, 0))
        for outcome in ("hit", "miss", "deserialize_failure", "backend_error")
    ]
    return "".join(_line(*row) for row in rows)


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {float(value)}\n"


def page(place: Place = PLACE, pending: float = 0, **counts: float) -> MetricsPage:
    return MetricsPage(place, Counters.parse(text(pending, **counts)), "")


HANG = (0, "")
"""In place of a page: the request is taken and never answered."""


@contextmanager
def served(pages: dict[str, tuple[int, str]], asked: list[str] | None = None) -> Iterator[str]:
    """Pages by path with their status, at a loopback address; a path that is not there hangs up.

    Paths that are asked for are added to ``asked``.
    """
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if asked is not None:
                asked.append(path)
            found = pages.get(path)
            if found is None:
                self.close_connection = True
                return
            if found == HANG:
                over.wait()
                self.close_connection = True
                return
            body = found[1].encode()
            self.send_response(found[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
