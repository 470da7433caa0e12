"""Finds the schema that this process uses: that of the installed release."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .errors import PrismaError
from .reading import read_schema
from .schema import Model, Schema

SCHEMA_VARIABLE = "PRISMA_STAND_IN_SCHEMA"
"""Environment variable with the path of a schema that takes precedence over the installed ones."""

_PLACES = (("litellm_proxy_extras", "schema.prisma"), ("litellm", "proxy/schema.prisma"))
"""Where a release has its schema, in order of precedence."""

_current: list[Schema] = []


def schema_paths() -> list[Path]:
    """The paths of the schemas, in order of precedence.

    Raises:
        PrismaError: No release is installed in this environment.
    """
    named = os.environ.get(SCHEMA_VARIABLE)
    if named:
        return [Path(named)]
    found = []
    for package, below in _PLACES:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder) / below
            found += [path] if path.is_file() else []
    if found:
        return found
    raise PrismaError(
        "prisma stand-in: no schema.prisma found in [litellm_proxy_extras, litellm]. "
        f"Install litellm[proxy] in this environment or set {SCHEMA_VARIABLE}."
    )


def merged(schemas: Sequence[Schema]) -> Schema:
    """Merge several schemas; of a model that two of them have, the first one's is used.

    The migrations that make the database come from litellm-proxy-extras, and so does the first
    schema: where the two differ (1.84.10, or 1.109.1 with older extras), a column that no migration
    makes must not be selected. A table that only the other one has is kept, so that a call for it
    ends as LiteLLM expects of a database that lacks it: with TableNotFoundError.
    """
    models: dict[str, Model] = {}
    enums: dict[str, tuple[str, ...]] = {}
    for schema in reversed(schemas):
        models |= schema.models
        enums |= schema.enums
    return Schema(models, enums)


def current_schema() -> Schema:
    """The schema of this process, read once."""
    if not _current:
        texts = [path.read_text(encoding="utf-8") for path in schema_paths()]
        _current.append(merged([read_schema(text) for text in texts]))
    return _current[0]


def use_schema(schema: Schema | None) -> None:
    """Use another schema from now on; None reads the installed one anew."""
    _current[:] = [] if schema is None else [schema]
