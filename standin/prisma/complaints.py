"""Refusals: calls that this package does not support, and those that Prisma's engine refuses.

LiteLLM swallows many exceptions. So each different refusal is also written to stderr once, where
a run finds it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from .errors import (
    DataError,
    FieldNotFoundError,
    MissingRequiredValueError,
    UnsupportedCallError,
    problem,
)

PREFIX = "prisma stand-in: "
_said: set[str] = set()


def complain(message: str) -> None:
    """Write a message to stderr, once for each different one."""
    if message not in _said:
        _said.add(message)
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


def forget_complaints() -> None:
    """Write every message again; for tests."""
    _said.clear()


@dataclass(frozen=True, slots=True)
class Call:
    """The call that a refusal is about.

    Attributes:
        table: The accessor, such as ``litellm_usertable``.
        action: Such as ``find_many``.
    """

    table: str
    action: str

    def unsupported(self, path: str) -> UnsupportedCallError:
        """The error for an unsupported argument or operator; also written to stderr."""
        message = f"{PREFIX}{self.table}.{self.action}({path}) is not supported"
        complain(message)
        return UnsupportedCallError(message)

    def unknown(self, path: str) -> FieldNotFoundError:
        """The error for a field that the schema does not have; also written to stderr."""
        message = f"Could not find field at `{self.table}.{self.action}.{path}`"
        complain(f"{PREFIX}{message}")
        return FieldNotFoundError(problem("P2009", message))

    def wrong(self, path: str, expected: str, value: object) -> DataError:
        """The error for a value of another type than the field's."""
        message = (
            f"Unable to match input value at `{self.table}.{self.action}.{path}`: "
            f"expected {expected}, got {type(value).__name__}"
        )
        return DataError(problem("P2009", message))

    def missing(self, path: str) -> MissingRequiredValueError:
        """The error for a required value that is None or absent."""
        message = f"A value is required but not set at `{self.table}.{self.action}.{path}`"
        return MissingRequiredValueError(problem("P2012", message))
