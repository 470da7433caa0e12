"""The response header in which a replica lists the objects that it served a request with.

``x-authcache-served: key;memory;3f2a…;1520,team;redis;9be0…;40`` — one entry per object served:
object, tier, digest, age in ms since the object was read from Postgres (``-`` where the replica
cannot know). The tier is ``memory`` or ``redis``; ``source`` for the request's own read from
Postgres, so that each source read is named once; or ``shared`` for the answer of another lookup
that this one waited for. It carries no id. Off in benchmarks.

Where replicas of two variants share a Redis, a fifth field names the variant that wrote the entry:
``key;redis;3f2a…;1520;litellm_1_84``. What came from Postgres has none, nor have releases.
"""

from __future__ import annotations

from typing import NamedTuple

SERVED_HEADER = "x-authcache-served"
COST_HEADER = "x-litellm-response-cost"
"""Cost of one reply in US dollars, as LiteLLM's proxy sends it."""
WORKER_HEADER = "x-authcache-worker"
"""The worker that gave a reply, by a name that is unique in its fleet, such as ``2.0``: replica and
worker. Workers of one replica share an address, so a client cannot tell them by it."""


class Served(NamedTuple):
    """One object that a request was served with. ``age_ms`` is None where it is not known."""

    object: str
    tier: str
    digest: str
    age_ms: int | None
    writer: str = ""


def format_served(entries: list[Served]) -> str:
    """The header's value; empty for no entries."""
    return ",".join(
        f"{e.object};{e.tier};{e.digest};{'-' if e.age_ms is None else e.age_ms}"
        f"{';' if e.writer else ''}{e.writer}"
        for e in entries
    )


def parse_served(value: str) -> list[Served]:
    """The entries of a header. Raises ValueError on anything that `format_served` cannot write."""
    entries = []
    for part in value.split(",") if value else []:
        kind, tier, digest, age, *writer = part.split(";")
        if len(writer) > 1 or writer == [""]:
            raise ValueError(f"too many fields to unpack, or an empty one: {part}")
        entries.append(Served(kind, tier, digest, None if age == "-" else int(age), *writer))
    return entries
