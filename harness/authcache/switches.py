"""The switches of the reference proxy. Each stands for a behaviour of a release or a proposal."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.authcache.objects import MODELS, CachedObject, MembershipDefaultNone
from harness.authcache.words import ObjectKind


class Switches(BaseModel):
    """One value for every switch; the defaults are LiteLLM 1.84 with Redis attached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    codec: str = "exclude_none"
    """A codec's name, or ``module:Class`` for one of your own."""
    key_layout: Literal["raw_ids", "team_prefixed", "all_prefixed", "apart"] = "raw_ids"
    """``raw_ids`` up to 1.90, ``team_prefixed`` from 1.91."""
    membership_budget: Literal["required", "default_none"] = "required"
    """Whether a reader needs the field; ``default_none`` from 1.89."""
    redis: Literal["on", "off"] = "on"
    """Upstream's default is off."""
    memory_payload: Literal["encoded", "object"] = "encoded"
    """What the memory tier holds; live objects up to 1.83."""
    memory_entries: int = Field(200, ge=0, le=1_000_000)
    """Upstream: 200 for all objects of a worker together; 0 switches the memory tier off."""
    backfill_ttl: Literal["fixed_600s", "entry_ttl"] = "fixed_600s"
    """How long memory keeps a value from Redis; ``entry_ttl`` from 1.94."""
    republish: Literal["on", "teams", "off"] = "on"
    """What every request stores again, from the objects that it holds: its key, in the background
    after the key's checks, and its team's second copy (``on``, up to 1.93), the team's copy alone
    (``teams``, up to 1.95), or nothing. What the spend path stores is `spend_write_back`."""
    spend_path: Literal["read_modify_write", "write_behind"] = "read_modify_write"
    """Cached copies updated by a pipeline, or increments kept local and flushed to Postgres."""
    spend_ttl: Literal["fixed_60s", "entry_ttl"] = "fixed_60s"
    """Time to live of what the spend pipeline writes; hard-coded to 60 s upstream."""
    spend_write_back: Literal["both_tiers", "memory"] = "both_tiers"
    """Where the spend pipeline writes; memory alone from 1.94."""
    spend_counter: Literal["none", "per_worker", "redis_add", "redis_nx"] = "redis_add"
    """Where the spend that budgets are checked against is counted: in the cached copies (``none``),
    in each worker, or in Redis. ``redis_add``: each worker that misses a counter reads Postgres and
    adds what it read (1.84.0rc1); ``redis_nx``: the first one sets it (1.91.0 on). Without a Redis
    tier both count in each worker, as releases do."""
    coalescing: Literal["none", "single_flight", "lease", "early_refresh"] = "none"
    """How concurrent misses of one object are coalesced."""
    negative_caching: Literal["off", "on", "brief"] = "off"
    """Whether an absent user or membership is remembered; ``brief``: for one TTL in both tiers
    together, where ``on`` gives memory a TTL of its own."""
    lookups: Literal["repeated", "once"] = "repeated"
    """Whether the auth path looks up an object again that the same request already has."""

    invalidation: Literal["none", "handler", "broadcast", "tracking", "generation"] = "handler"
    """What a change evicts: nothing; the handler's memory and Redis; also every other worker's
    memory, by a message that is sent once (``broadcast``), by Redis' client-side caching
    (``tracking``) or by a message with a number, so that a loss is noticed (``generation``)."""
    late_store: Literal["on", "off"] = "on"
    """Whether a load that began before a change may store its old row after it."""

    redis_outage: Literal["counted", "probed"] = "counted"
    """When a worker does without Redis: for 2 s after five failures in a row, or from the first
    command without an answer until a PING that no request waits for is answered."""
    unreadable: Literal["kept", "replaced"] = "kept"
    """What becomes of an entry in Redis that does not decode: it stays until it expires, or the
    first worker that meets it reads the object and stores that in its place (under a lease)."""
    expiry: Literal["exact", "jittered"] = "exact"
    """Whether memory keeps an entry for the TTL, or for a random part of it, four fifths at least:
    entries that were stored together then expire one after another."""
    lost_news: Literal["dropped", "kept"] = "dropped"
    """What becomes of the news of a change that Redis did not take: nothing, or the handler sends
    it when Redis answers again (with ``generation``: then it still has a number)."""
    source_outage: Literal["waits", "bounded"] = "waits"
    """How long a request waits for Postgres: 5 s for each statement, and for a connection as long
    as all others take; or 2 s for a read and all that comes before it, 3 s for all that the request
    looks up beyond memory, and 3 s for a transaction. ``bounded`` also reports a change whose
    COMMIT got no answer."""
    spend_flush: Literal["repeated", "once"] = "repeated"
    """What is done with spend whose COMMIT got no answer: it is written again, or under the number
    that it had, so that it counts once."""
    spend_at_end: Literal["lost", "flushed"] = "lost"
    """What becomes of spend that is not in Postgres when a worker is asked to end; nothing was
    flushed up to 1.97."""

    @property
    def models(self) -> dict[ObjectKind, type[CachedObject]]:
        """The model of each object, for writing and reading."""
        if self.membership_budget == "default_none":
            return MODELS | {ObjectKind.MEMBERSHIP: MembershipDefaultNone}
        return dict(MODELS)

    @model_validator(mode="after")
    def _check(self) -> Switches:
        if self.codec == "raw" and self.memory_payload == "encoded":
            raise ValueError("codec raw encodes nothing: it needs memory_payload = object")
        if self.coalescing == "lease" and self.redis == "off":
            raise ValueError("coalescing lease needs redis = on: the lease is kept there")
        if self.redis == "off" and self.memory_entries == 0:
            raise ValueError("redis = off with memory_entries = 0 leaves no tier at all")
        if self.redis == "off" and self.invalidation in ("broadcast", "tracking", "generation"):
            raise ValueError(
                f"invalidation {self.invalidation} needs redis = on: Redis tells the other workers"
            )
        return self
