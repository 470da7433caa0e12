"""Replaces Prisma's client where its engine is not available.

LiteLLM imports it as ``prisma``. It runs LiteLLM's calls on Postgres through asyncpg: the
tables, types and relations are those of the schema that the installed release brings along, the
semantics are those of prisma-client-python 0.11, the version that LiteLLM pins. It refuses
an unsupported call by name (`errors.UnsupportedCallError`), also on stderr.

It imports nothing but the standard library, asyncpg and pydantic: it runs in the environment of a
release, not in the harness's.
"""

from . import actions, bases, engine, enums, errors, fields, models, observing, types
from .client import Batch, Client, Prisma, TransactionManager, get_client, register
from .fields import Base64, Json

__all__ = (
    "Base64",
    "Batch",
    "Client",
    "Json",
    "Prisma",
    "TransactionManager",
    "actions",
    "bases",
    "engine",
    "enums",
    "errors",
    "fields",
    "get_client",
    "models",
    "observing",
    "register",
    "types",
)

__version__ = "0.11.0"
"""The version of prisma-client-python whose API this is; LiteLLM only reads it."""
