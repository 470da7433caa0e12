"""Connection addresses: parsed, rebuilt, shown without their secrets."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from harness.errors import SetupError
from harness.process.sockets import LOOPBACK

_IDENTITY = frozenset({"user", "password", "dbname", "database"})
_SCHEMES = {
    "POSTGRES_DSN": ("postgresql", "postgres"),
    "REDIS_URL": ("redis", "rediss", "unix"),
}


def check_url(variable: str, value: str) -> None:
    """Raise SetupError unless `value` looks like what `variable` must hold."""
    schemes = _SCHEMES[variable]
    try:
        parts = urlsplit(value)
        valid = parts.scheme in schemes and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise SetupError(
            f"{variable} is not an address that begins with [{'://, '.join(schemes)}://] "
            "and holds a valid port. It is not shown here, because it may hold a password."
        )


def replaced(dsn: str, *, database: str, user: str | None = None, password: str = "") -> str:
    """The same Postgres server, with another database and, where given, another user."""
    parts = urlsplit(dsn)
    identity, _, place = parts.netloc.rpartition("@")
    dropped = {"dbname", "database"}
    if user is not None:
        identity = f"{quote(user, safe='')}:{quote(password, safe='')}"
        dropped = set(_IDENTITY)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in dropped]
    netloc = f"{identity}@{place}" if identity else place
    return urlunsplit(("postgresql", netloc, f"/{quote(database)}", urlencode(query), ""))


def port_of(url: str) -> int:
    """The port of an address of ours, which always names one."""
    port = urlsplit(url).port
    assert port is not None, shown(url)
    return port


def at_port(url: str, port: int) -> str:
    """The same address, at another port of loopback."""
    parts = urlsplit(url)
    identity, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{identity}{at}{LOOPBACK}:{port}"))


def shown(url: str) -> str:
    """Server and database of an address, without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def without_secrets(text: str, url: str) -> str:
    """`text` with the password of `url` struck out, however it is quoted."""
    parts = urlsplit(url)
    secrets = [value for name, value in parse_qsl(parts.query) if name == "password"]
    identity = parts.netloc.rpartition("@")[0]
    secrets.append(identity.partition(":")[2])
    for secret in filter(None, secrets):
        for form in {secret, unquote(secret), quote(unquote(secret), safe="")}:
            text = text.replace(form, "***")
    return text
