"""How to read a report: its words, in the order in which a reader meets them."""

from __future__ import annotations

from typing import NamedTuple


class GlossaryEntry(NamedTuple):
    """One word and what it means here."""

    word: str
    meaning: str


GLOSSARY = (
    GlossaryEntry(
        "variant",
        "A named set of switches of the reference proxy, or a release. Each has a fleet of "
        "replicas, a Redis and a Postgres database of its own.",
    ),
    GlossaryEntry(
        "key scope",
        "What a virtual key belongs to: team (a team, no user), user (a user, no team), member "
        "(a user in a team), shared_id (user_id equals team_id).",
    ),
    GlossaryEntry(
        "premise",
        "Something that a scenario plants and the real software does not do. It applies to all "
        "variants and is always named as planted.",
    ),
    GlossaryEntry(
        "cell",
        "The finding for one variant and scope, the first that applies of: broken (any deserialize "
        "failure, or a status other than the one that Postgres' state calls for), hidden (none of "
        "that, but wrong data served), wasteful (right data, no failure, source reads more than "
        "5 times the reference line), healthy.",
    ),
    GlossaryEntry(
        "not measured",
        "Written as a dash. Where a point of a release could not be wrapped, what is seen through "
        "it is not measured; a cell that rests on it is then said only where it is broken.",
    ),
    GlossaryEntry(
        "source read", "A query to Postgres for an object. One source read is one statement."
    ),
    GlossaryEntry(
        "per 1,000",
        "Per 1,000 answered requests of that scope, whatever their status. A scope that had no "
        "request is absent, not 0.",
    ),
    GlossaryEntry(
        "reference line",
        "One read per object and TTL. Not a floor: rewrites and backfill can go below it by "
        "serving older data, which is reported with the greatest entry age, not praised.",
    ),
    GlossaryEntry("tier", "Memory, in each worker; or Redis, shared by all replicas of a fleet."),
    GlossaryEntry(
        "outcome",
        "Of one lookup in one tier: hit, miss, deserialize failure, backend error. A deserialize "
        "failure is neither a hit nor a miss.",
    ),
    GlossaryEntry(
        "log pair",
        "The WARNING of the codec and the ERROR of the typed read, counted by the ERROR.",
    ),
    GlossaryEntry(
        "wrong value",
        "An object that was served with an identity or limits other than those in Postgres. A "
        "status code cannot show that a team was served as a user; this does.",
    ),
    GlossaryEntry(
        "entry age",
        "Time since what was served had been read from Postgres. Twice the TTL is what two tiers "
        "can add up to.",
    ),
    GlossaryEntry(
        "window",
        "One measured stretch of one fleet: a whole number of TTLs. Windows of the variants are "
        "interleaved; the cold fill is measured once, apart.",
    ),
    GlossaryEntry(
        "from intended, service",
        "Latency from when a request should have started, and from when it did. Only the first "
        "one shows what waiting in line costs.",
    ),
    GlossaryEntry(
        "ledger",
        "The reconciliation of what generator, replicas, Redis and Postgres each counted. A "
        "validity equation that does not balance makes the run invalid, whatever its figures say.",
    ),
)
