"""Load-test and observability harness for two-tier auth caches behind a multi-replica gateway."""

import signal

__version__ = "0.1.0"

STOPPING = tuple(
    number
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
)
"""Signals that stop a command, which ends with 128 + number.

Without SIGHUP where the process began with it ignored: under ``nohup`` a command goes on without
its terminal. With SIGINT even then, since a shell starts a script's background jobs so.
"""
