"""The stacks by name. A stack's modules are imported when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from harness.errors import UnknownNameError, UsageError
from harness.stack.base import ProcessStack, Servers, Stack

EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class StackKind:
    """What is known of a stack before one is made."""

    make: Callable[[Path, Servers, bool], Stack]
    """Of the folder of logs, the user's servers, and whether fleets are broken on purpose."""
    not_recorded: str = ""
    """Why Prometheus cannot record a run on it; empty where it can."""


def kind_of(name: str) -> StackKind:
    """The stack of a name. Raises UnknownNameError."""
    if name not in STACKS:
        raise UnknownNameError("stack", name, STACKS)
    return STACKS[name]


def make_stack(name: str, logs: Path, servers: Servers, *, faults: bool = False) -> Stack:
    """A stack that is not open yet.

    Args:
        name: of `STACKS`.
        logs: folder of the servers' and replicas' logs.
        servers: the user's own.
        faults: whether fleets are broken on purpose; which faults it can do says `Stack.breaks`.

    Raises:
        UnknownNameError: there is no such stack.
        UsageError: the stack cannot use the user's servers, or break them.
        SetupError: the machine lacks something that the stack needs.
    """
    return kind_of(name).make(logs, servers, faults)


def embedded_stack(logs: Path, servers: Servers, faults: bool = False) -> ProcessStack:
    """The stack of processes, which is not open yet; see `make_stack`."""
    from harness.stack.embedded import EmbeddedStack  # noqa: PLC0415 - see above

    return EmbeddedStack(
        logs, postgres_dsn=servers.postgres_dsn, redis_url=servers.redis_url, faults=faults
    )


def _compose(logs: Path, servers: Servers, faults: bool) -> Stack:
    del faults  # Its fleets run as always.
    from harness.stack.compose import ComposeStack  # noqa: PLC0415 - see above

    for variable, value in zip(("POSTGRES_DSN", "REDIS_URL"), astuple(servers), strict=True):
        if value is not None:
            raise UsageError(
                f"{variable} is set, but the stack [compose] starts servers of its own. Unset it, "
                "or use STACK=embedded."
            )
    return ComposeStack(logs)


STACKS: Mapping[str, StackKind] = {
    EMBEDDED: StackKind(embedded_stack),
    "compose": StackKind(
        _compose,
        "a run in containers is not recorded; its own exporter shows it while it lasts",
    ),
}
