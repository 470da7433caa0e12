"""A replica that only answers: readiness on its clients' socket, metrics on each worker's.

Usage: ``python fake_replica.py MODE LISTEN_FD METRICS_FD...``, one worker a metrics socket.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = sys.argv[1]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        # A client may ask which variables of the environment the replica was given.
        body = "\n".join([f"worker {os.getpid()}", *sorted(os.environ)]).encode()
        self.send_response(503 if MODE == "never_ready" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        say(format % args)


def serve(listener: socket.socket) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    threading.Thread(target=server.serve_forever, daemon=True).start()


def work(clients: socket.socket, metrics: socket.socket) -> None:
    if MODE == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(clients)
    serve(metrics)
    while True:
        signal.pause()


def main() -> None:
    say(f"fake replica, mode {MODE}")
    if MODE == "exit":
        say("cannot read the codec")
        sys.exit(7)
    if MODE == "stray":
        sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
        stray = subprocess.Popen(sleeper, start_new_session=True)
        say(f"stray {stray.pid}")
    clients, *metrics = (socket.socket(fileno=int(fd)) for fd in sys.argv[2:])
    for listener in metrics[1:]:
        if os.fork() == 0:
            work(clients, listener)
    work(clients, metrics[0])


main()
