"""The one client that a process may register."""

from __future__ import annotations

from typing import Any

from .errors import ClientAlreadyRegisteredError, ClientNotRegisteredError

_registered: list[Any] = []


def register(client: Any) -> None:
    """Make `client`, or what calling it gives, the one that `get_client` returns.

    Raises:
        ClientAlreadyRegisteredError: There is one.
    """
    if _registered:
        raise ClientAlreadyRegisteredError
    _registered.append(client)


def get_client() -> Any:
    """The registered client.

    Raises:
        ClientNotRegisteredError: There is none.
    """
    if not _registered:
        raise ClientNotRegisteredError
    client = _registered[0]
    return client() if callable(client) else client
