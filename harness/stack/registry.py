"""The stacks by name. A stack's modules are imported when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.errors import UnknownNameError, UsageError
from harness.stack.base import Stack

EMBEDDED = "embedded"
Maker = Callable[[Path, str | None, str | None], Stack]


def make_stack(
    name: str, logs: Path, *, postgres_dsn: str | None = None, redis_url: str | None = None
) -> Stack:
    """A stack that is not open yet.

    Args:
        name: of `STACKS`.
        logs: folder of the servers' and replicas' logs.
        postgres_dsn: a Postgres of the user's.
        redis_url: a Redis of the user's.

    Raises:
        UnknownNameError: there is no such stack.
        UsageError: the stack cannot use the user's servers.
        SetupError: what the stack needs is not on this machine.
    """
    if name not in STACKS:
        raise UnknownNameError("stack", name, STACKS)
    return STACKS[name](logs, postgres_dsn, redis_url)


def _embedded(logs: Path, postgres_dsn: str | None, redis_url: str | None) -> Stack:
    from harness.stack.embedded import EmbeddedStack  # noqa: PLC0415 - see above

    return EmbeddedStack(logs, postgres_dsn=postgres_dsn, redis_url=redis_url)


def _compose(logs: Path, postgres_dsn: str | None, redis_url: str | None) -> Stack:
    from harness.stack.compose import ComposeStack  # noqa: PLC0415 - see above

    for variable, value in (("POSTGRES_DSN", postgres_dsn), ("REDIS_URL", redis_url)):
        if value is not None:
            raise UsageError(
                f"{variable} is set, but the stack [compose] starts servers of its own. Unset it, "
                "or use STACK=embedded."
            )
    return ComposeStack(logs)


STACKS: Mapping[str, Maker] = {EMBEDDED: _embedded, "compose": _compose}
