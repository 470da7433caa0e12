"""From DATABASE_URL to a pool of connections."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from .complaints import PREFIX
from .errors import PrismaError, UnsupportedDatabaseError
from .fields import dumps

DEFAULT_POOL_TIMEOUT_S = 10.0
DEFAULT_CONNECT_TIMEOUT_S = 5.0

_PASSED_ON = frozenset(
    {"sslmode", "host", "port", "user", "password", "dbname", "target_session_attrs"}
)
_WITHOUT_MEANING = frozenset(
    {"sslidentity", "sslpassword", "sslaccept", "max_idle_connection_lifetime"}
)
_TRUE = frozenset({"true", "1"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect and how.

    Attributes:
        dsn: As asyncpg takes it.
        server: Host and port, for messages.
        size: The most connections at a time (``connection_limit``).
        pool_timeout_s: How long to wait for a free one (``pool_timeout``); None for no limit.
        connect_timeout_s: How long a new connection may take.
        statement_timeout_s: How long a statement may take (``socket_timeout``); None for no limit.
        statement_cache: Prepared statements to keep in a connection; 0 behind pgbouncer.
        settings: Settings of each session.
    """

    dsn: str
    server: str
    size: int
    pool_timeout_s: float | None = DEFAULT_POOL_TIMEOUT_S
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S
    statement_timeout_s: float | None = None
    statement_cache: int = 100
    settings: Mapping[str, str] = field(default_factory=dict)

    def with_connect_timeout(self, seconds: float) -> Target:
        """The same with another connect timeout."""
        return replace(self, connect_timeout_s=seconds)


def default_size() -> int:
    """Prisma's default of ``connection_limit``: two for each CPU and one more."""
    return (os.cpu_count() or 1) * 2 + 1


def read_url(url: str) -> Target:
    """Parse a DATABASE_URL with Prisma's options.

    Raises:
        UnsupportedDatabaseError: Not a URL of Postgres.
        PrismaError: An unknown option.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise UnsupportedDatabaseError(parts.scheme or "an empty URL", "prisma stand-in")
    kept: dict[str, str] = {}
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        (kept if name in _PASSED_ON else options)[name] = value
    settings = {}
    if "schema" in options:
        settings["search_path"] = '"' + options.pop("schema").replace('"', '""') + '"'
    if "application_name" in options:
        settings["application_name"] = options.pop("application_name")
    if "options" in options:
        settings |= _startup_options(options.pop("options"))
    pooled = options.pop("pgbouncer", "false") in _TRUE
    target = Target(
        dsn=urlunsplit(parts._replace(query=urlencode(kept))),
        server=f"{parts.hostname or 'localhost'}:{parts.port or 5432}",
        size=int(options.pop("connection_limit", default_size())),
        pool_timeout_s=_seconds(options.pop("pool_timeout", None), DEFAULT_POOL_TIMEOUT_S),
        connect_timeout_s=_seconds(options.pop("connect_timeout", None), DEFAULT_CONNECT_TIMEOUT_S)
        or DEFAULT_CONNECT_TIMEOUT_S,
        statement_timeout_s=_seconds(options.pop("socket_timeout", None), None),
        statement_cache=0 if pooled else int(options.pop("statement_cache_size", 100)),
        settings=settings,
    )
    options.pop("statement_cache_size", None)
    unknown = sorted(options.keys() - _WITHOUT_MEANING)
    if unknown:
        raise PrismaError(
            f"{PREFIX}options of DATABASE_URL [{', '.join(unknown)}] are not supported"
        )
    return target


def _seconds(text: str | None, otherwise: float | None) -> float | None:
    # Zero means no limit, in Prisma's documentation of every one of these.
    return otherwise if text is None else float(text) or None


def _startup_options(text: str) -> dict[str, str]:
    """``-c name=value`` pairs, the only use that Prisma documents."""
    settings = {}
    for part in text.replace("-c ", "-c").split("-c"):
        if part.strip():
            name, _, value = part.strip().partition("=")
            settings[name.strip()] = value.strip()
    return settings


class _Connection(asyncpg.Connection):
    """A connection that is given back as it is: no client call changes the session."""

    def get_reset_query(self) -> str:
        return ""


async def open_pool(target: Target) -> asyncpg.Pool:
    """A pool that opens its first connection now and the others when they are needed."""
    return await asyncpg.create_pool(
        target.dsn,
        min_size=1,
        max_size=target.size,
        max_queries=2**31,
        max_inactive_connection_lifetime=0,
        connection_class=_Connection,
        init=_set_codecs,
        timeout=target.connect_timeout_s,
        command_timeout=target.statement_timeout_s,
        statement_cache_size=target.statement_cache,
        server_settings=dict(target.settings),
    )


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=dt.UTC)
    return moment.astimezone(dt.UTC)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


_Codec = tuple[Callable[[Any], str], Callable[[str], Any]]
_CODECS: Mapping[str, _Codec] = MappingProxyType(
    {
        # A string in a parameter is what Prisma's client makes of a datetime; Postgres reads it.
        "timestamp": (_as_text, _moment),
        "timestamptz": (_as_text, _moment),
        "date": (_as_text, str),
        "time": (_as_text, str),
        "interval": (_as_text, str),
        "uuid": (_as_text, str),
        "json": (_as_json, json.loads),
        "jsonb": (_as_json, json.loads),
    }
)


async def _set_codecs(connection: Any) -> None:
    for name, (encoder, decoder) in _CODECS.items():
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="text"
        )
