"""Which answers were right, of keys with one version and of keys that changed under load."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.answers import Answers, judge_answers, refusal_results
from harness.domain.changes import ChangeEvent
from harness.domain.population import MOCK_MODEL, VirtualKey, make_population, make_refusals
from harness.domain.result import RefusalResult
from harness.domain.samples import Sample, SampleWriter
from harness.domain.served import Served, format_served
from harness.domain.window import ServedCount
from harness.observe.evidence import Evidence
from harness.targets.base import KeyTruth
from tests.observe.build import evidence

KEYS = make_population({"team": 2, "user": 1}, {}, seed=1, model=MOCK_MODEL)
PROMISE_S = 4.0


def _count(key: int, kind: str, digest: str, n: int) -> ServedCount:
    return ServedCount(
        scope="team", key_index=key, object=kind, tier="redis", digest=digest, count=n,
        age_ms_max=None,
    )  # fmt: skip


def _window(
    truths: dict[int, KeyTruth],
    statuses: dict[int, dict[str, int]] | None = None,
    served: list[ServedCount] | None = None,
) -> Evidence:
    counts = {"statuses_by_key": statuses or {}, "served": served or []}
    return evidence(truths=truths, promise_s=PROMISE_S, generator=counts)


def _judged(window: Evidence, folder: Path, *samples: Sample) -> Answers:
    if samples:
        with SampleWriter(folder / f"{window.name}.csv.gz") as writer:
            for sample in samples:
                writer.write(sample)
    return judge_answers([window], KEYS, folder)


def test_what_postgres_holds_is_right(tmp_path: Path) -> None:
    right = KeyTruth({"key": "a", "team": "b"}, 200)
    served = [_count(0, "key", "a", 90), _count(0, "team", "b", 90)]
    found = _judged(_window({0: right}, {0: {"200": 90}}, served), tmp_path)
    assert found == Answers()


def test_each_key_is_judged_by_itself_and_not_by_what_others_of_its_scope_call_for(
    tmp_path: Path,
) -> None:
    truths = {0: KeyTruth({}, 200), 1: KeyTruth({}, 401, "blocked"), 2: KeyTruth({}, 200)}
    statuses = {0: {"200": 5, "401": 1}, 1: {"200": 2, "401": 7, "429": 3}, 2: {"500": 4}}
    found = _judged(_window(truths, statuses), tmp_path)
    assert found.let_through == {("team", "blocked"): 2}
    assert found.unexpected == {("team", "401"): 1, ("team", "429"): 3, ("user", "500"): 4}


def test_where_two_variants_refuse_in_different_ways_both_are_right(tmp_path: Path) -> None:
    truth = KeyTruth({}, 429, "key_budget", also=(422,))
    found = _judged(_window({0: truth}, {0: {"429": 5, "422": 4, "400": 1}}), tmp_path)
    assert found == Answers(unexpected=Counter({("team", "400"): 1}))


@pytest.mark.parametrize("truth", [KeyTruth({}, 200), KeyTruth({}, 400, "key_budget")])
def test_a_budget_that_the_load_uses_up_makes_two_answers_right(
    tmp_path: Path, truth: KeyTruth
) -> None:
    """Admitted until then, refused after it; the truth is that of the window's end."""
    refused = {"429": 9} | ({"400": 9} if truth.status == 400 else {})
    window = _window({0: truth, 1: truth}, {0: {"200": 5, **refused, "500": 1}})
    found = judge_answers([window], KEYS, tmp_path, within_reach={0})
    assert found == Answers(unexpected=Counter({("team", "500"): 1}))
    strict = judge_answers([window], KEYS, tmp_path, within_reach={1})
    assert strict.let_through + strict.unexpected > found.unexpected


def test_wrong_objects_are_counted_by_scope_and_object(tmp_path: Path) -> None:
    """An object that the key does not have is wrong whatever it is."""
    served = [_count(0, "key", "a", 9), _count(0, "key", "z", 3), _count(0, "user", "a", 2)]
    found = _judged(_window({0: KeyTruth({"key": "a"}, 200)}, served=served), tmp_path)
    assert found.wrong == {("team", "key"): 3, ("team", "user"): 2}
    unknown = _judged(_window({}, served=[_count(1, "key", "a", 1)]), tmp_path)
    assert unknown.wrong == {("team", "key"): 1}


def _changed(*, status: int = 200, refusal: str = "") -> KeyTruth:
    """A key that changed between second 10.0 and 10.2."""
    return KeyTruth({"key": "new"}, status, refusal, (10.0, 10.2), (KeyTruth({"key": "old"}, 200),))


def _sample(sent_s: float, done_s: float, digest: str, status: int = 200, key: int = 0) -> Sample:
    served = format_served([Served("key", "memory", digest, 5)])
    return Sample("w", "team", key, 0, sent_s, sent_s, done_s, status, "", 0, served)


@pytest.mark.parametrize(
    ("sent_s", "done_s", "digest", "where"),
    [
        (9.0, 9.1, "old", ""),
        (9.99, 10.01, "new", ""),  # the change had begun
        (9.0, 9.1, "new", "wrong"),  # before it had: no version of that time
        (14.1, 14.2, "old", ""),  # 14.1 - 4.0 is before 10.2
        (14.2, 14.3, "old", ""),
        (14.21, 14.3, "old", "stale"),
        (14.21, 14.3, "new", ""),
        (12.0, 12.1, "another", "wrong"),
        (99.0, 99.1, "another", "wrong"),
    ],
)
def test_a_changed_object_may_be_served_for_the_promise_and_is_stale_after_it(
    tmp_path: Path, sent_s: float, done_s: float, digest: str, where: str
) -> None:
    """Plant 18: a limit changed in the middle of a window, served within its bound, is right."""
    found = _judged(_window({0: _changed()}), tmp_path, _sample(sent_s, done_s, digest))
    counts = {"wrong": found.wrong, "stale": found.stale}
    assert {name: dict(n) for name, n in counts.items() if n} == (
        {where: {("team", "key"): 1}} if where else {}
    )
    assert not found.let_through + found.unexpected


@pytest.mark.parametrize(
    ("sent_s", "status", "where"),
    [
        (9.0, 200, ""),
        (9.0, 401, "unexpected"),
        (12.0, 200, ""),
        (12.0, 401, ""),
        (15.0, 401, ""),
        (15.0, 200, "stale"),
        (15.0, 500, "unexpected"),
    ],
)
def test_a_key_that_is_blocked_may_be_admitted_for_the_promise(
    tmp_path: Path, sent_s: float, status: int, where: str
) -> None:
    blocked = _changed(status=401, refusal="blocked")
    sample = _sample(sent_s, sent_s + 0.01, "old" if sent_s < 10 else "new", status)
    found = _judged(_window({0: blocked}), tmp_path, sample)
    assert ([n for n in ("stale", "unexpected") if getattr(found, n)] or [""]) == [where]
    assert not found.let_through + found.wrong


def test_refusing_what_has_been_allowed_for_longer_than_the_promise_is_stale(
    tmp_path: Path,
) -> None:
    unblocked = replace(_changed(), earlier=(KeyTruth({"key": "old"}, 401, "blocked"),))
    assert _judged(_window({0: unblocked}), tmp_path, _sample(15.0, 15.1, "new", 401)).stale == {
        ("team", "status"): 1
    }


def test_stale_replies_are_counted_once_each_by_the_action_that_made_them_stale(
    tmp_path: Path,
) -> None:
    """A deleted key that still answers 2xx beyond the promise is stale, not let through."""
    deleted = KeyTruth({}, 401, "unknown", (10.0, 10.2), (KeyTruth({"key": "old"}, 200),))
    event = ChangeEvent(1, "key-delete", "team", "api", 0, 0, "0.0", 10.0, 10.2, 200, "done")
    window = replace(_window({0: deleted}), changes=(event,))
    samples = [_sample(14.1, 14.2, "old"), _sample(14.3, 14.4, "old"), _sample(15.0, 15.1, "old")]
    found = _judged(window, tmp_path, *samples)
    assert found.stale_replies == {("key-delete", "team"): 2}
    assert found.stale == {("team", "status"): 2, ("team", "key"): 2}
    assert not found.let_through + found.unexpected + found.wrong


def test_what_every_version_refuses_is_let_through(tmp_path: Path) -> None:
    twice = KeyTruth(
        {"key": "new"}, 401, "expired", (10.0, 10.2), (KeyTruth({"key": "old"}, 401, "blocked"),)
    )
    found = _judged(_window({0: twice}), tmp_path, _sample(12.0, 12.1, "new", 200))
    assert found.let_through == {("team", "expired"): 1}


def test_samples_decide_only_about_keys_that_changed(tmp_path: Path) -> None:
    """Counts do not tell when a changed key was served what; of other keys they say all."""
    truths = {0: _changed(), 1: KeyTruth({"key": "a"}, 200)}
    served = [_count(0, "key", "old", 50), _count(1, "key", "z", 7)]
    window = _window(truths, {0: {"401": 50}, 1: {"200": 7}}, served)
    found = _judged(window, tmp_path, _sample(9.0, 9.1, "old"), _sample(9.0, 9.1, "x", 500, key=1))
    assert found == Answers(wrong=found.wrong)
    assert found.wrong == {("team", "key"): 7}


TIMES = st.floats(0, 50, allow_nan=False)


@given(changes=st.lists(TIMES, max_size=5).map(sorted), start=TIMES, length=TIMES)
def test_a_version_counts_if_and_only_if_it_was_true_at_some_moment(
    changes: list[float], start: float, length: float
) -> None:
    """Against the definition, for changes that take no time."""
    versions = [KeyTruth({}, 200)]
    versions += [KeyTruth({}, i, since=(at, at)) for i, at in enumerate(changes, start=1)]
    truth = replace(versions[-1], earlier=tuple(versions[:-1]))
    begins, ends = [float("-inf"), *changes], [*changes, float("inf")]
    expected = [
        versions[i].status
        for i in range(len(versions))
        if begins[i] <= start + length and ends[i] >= start
    ]
    assert [v.status for v in truth.true_within(start, start + length)] == expected
    before = [versions[i].status for i in range(len(versions)) if ends[i] < start]
    assert [v.status for v in truth.true_before(start)] == before
    assert expected, "something is always true"


def test_answers_to_refusals_are_listed_by_scope_and_kind() -> None:
    keys: list[VirtualKey] = [
        *KEYS, *make_refusals(["user"], first=len(KEYS), seed=1, model=MOCK_MODEL)
    ]  # fmt: skip
    index = {key.kind: key.index for key in keys}
    truths = {index["blocked"]: KeyTruth({}, 401, "blocked"), index["no_limits"]: KeyTruth({}, 200)}
    statuses = {index["blocked"]: {"401": 3, "200": 1}, index["no_limits"]: {"200": 2}}
    window = _window(truths, statuses)
    assert refusal_results([window, window], keys) == {
        "user": {
            "blocked": RefusalResult(expected=401, answers={"401": 6, "200": 2}),
            "no_limits": RefusalResult(expected=200, answers={"200": 4}),
        }
    }
