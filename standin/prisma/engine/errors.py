"""Errors of the way to the database, with the names that LiteLLM looks at."""

from __future__ import annotations

from ..errors import PrismaError  # noqa: TID252 - the package has two names


class EngineError(PrismaError):
    """Base of the errors below."""


class EngineConnectionError(EngineError):
    """``connect`` could not reach the database."""


class EngineRequestError(EngineError):
    """Part of the tree that LiteLLM names; never raised here, since there is no engine process."""


class AlreadyConnectedError(EngineError):
    """``connect`` on a connected client."""


class NotConnectedError(EngineError):
    """Part of the tree; `ClientNotConnectedError` is raised in its place."""
