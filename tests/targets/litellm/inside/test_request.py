from __future__ import annotations

import pytest

from harness.authcache.events import Lookup, SourceRead
from harness.authcache.words import KeyScope, ObjectKind, Op, Outcome, ReadReason, Tier
from harness.targets.litellm.inside.request import Request, Requests
from harness.targets.metrics import Metrics

USER, TEAM = ObjectKind.USER, ObjectKind.TEAM


def _loaded(outcome: Outcome, kind: ObjectKind = USER) -> Request:
    """A request whose load of one object ended without a value."""
    request = Request(Metrics("a", {}))
    request.lookup(Tier.MEMORY, Op.LOAD, outcome, kind)
    request.left_open(kind, outcome)
    return request


def test_a_getter_that_fails_over_what_it_found_was_no_load() -> None:
    request = _loaded(Outcome.DESERIALIZE_FAILURE)
    request.load_failed(USER)
    assert request.trace.lookups == [
        Lookup(Tier.MEMORY, Op.PEEK, Outcome.DESERIALIZE_FAILURE, USER)
    ]
    request.source_read(USER)
    assert request.trace.source_reads == [SourceRead(USER, ReadReason.DIRECT)]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Outcome.MISS, ReadReason.MISS), (Outcome.BACKEND_ERROR, ReadReason.BACKEND_ERROR)],
)
def test_a_getter_that_fails_over_its_read_was_a_load(outcome: Outcome, reason: ReadReason) -> None:
    """What is left open then is a read that was to come: its lookup stays a load."""
    request = _loaded(outcome)
    request.load_failed(USER)
    assert [lookup.op for lookup in request.trace.lookups] == [Op.LOAD]
    request.source_read(USER)
    assert request.trace.source_reads == [SourceRead(USER, reason)]


def test_only_the_last_open_load_of_that_object_is_given_up() -> None:
    request = _loaded(Outcome.DESERIALIZE_FAILURE, TEAM)
    for tier in (Tier.MEMORY, Tier.REDIS):
        request.lookup(tier, Op.LOAD, Outcome.DESERIALIZE_FAILURE, USER)
        request.left_open(USER, Outcome.DESERIALIZE_FAILURE)
    request.load_failed(USER)
    assert [(one.kind, one.op) for one in request.trace.lookups] == [
        (TEAM, Op.LOAD),
        (USER, Op.LOAD),
        (USER, Op.PEEK),
    ]
    request.source_read(TEAM)
    request.source_read(USER)
    request.source_read(USER)
    assert [read.reason for read in request.trace.source_reads] == [
        ReadReason.DESERIALIZE_FAILURE,
        ReadReason.DESERIALIZE_FAILURE,
        ReadReason.DIRECT,
    ]


def test_nothing_open_is_nothing_to_give_up() -> None:
    request = Request(Metrics("a", {}))
    request.load_failed(USER)
    assert request.trace.lookups == []


@pytest.mark.parametrize("scoped", [True, False])
def test_a_management_call_belongs_to_no_scope(scoped: bool) -> None:
    """Whatever key it looks up: the operator's, or one that it changes."""
    request = Requests(Metrics("a", {})).begin(scoped=scoped)
    request.found(ObjectKind.KEY, {"token": "a", "user_id": "u", "team_id": None}, Tier.MEMORY)
    assert request.scope == (KeyScope.USER if scoped else KeyScope.UNKNOWN)
