"""The metrics of one worker: complete from the start, without ids, and true."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from harness.authcache import logs
from harness.authcache.events import Asked, Lookup, SourceRead, Wait
from harness.authcache.logs import Signature
from harness.authcache.trace import Trace
from harness.authcache.words import (
    Coalesced,
    Invalidated,
    KeyScope,
    ObjectKind,
    Op,
    Outcome,
    ReadReason,
    Tier,
    WriteOutcome,
)
from harness.domain.reads import LoggedRead, owned_objects, resolve
from harness.domain.series import OTHER_STATUS, ROUTES, STATUSES
from harness.observe.counters import Counters
from harness.stack.base import Fleet
from harness.targets.counters import Histograms
from harness.targets.metrics import (
    AGE_BUCKETS,
    CODEC_BUCKETS,
    LATENCY_BUCKETS,
    SIZE_BUCKETS,
    LogCounter,
    Metrics,
)
from tests.targets.world import VARIANTS, node, seed

BUILD = {"codec": "msgspec", "layout": "raw_ids", "target": "reference", "version": "1.2"}
LABELS: Mapping[str, Mapping[str, Any]] = {
    "authcache_lookups_total": {
        "tier": Tier,
        "op": Op,
        "outcome": Outcome,
        "object": ObjectKind,
        "key_scope": KeyScope,
    },
    "authcache_source_reads_total": {
        "object": ObjectKind,
        "reason": ReadReason,
        "key_scope": KeyScope,
    },
    "authcache_source_read_errors_total": {"object": ObjectKind},
    "authcache_coalesced_total": {
        "object": ObjectKind,
        "stage": Coalesced,
        "key_scope": KeyScope,
    },
    "authcache_writes_total": {"tier": Tier, "outcome": WriteOutcome, "object": ObjectKind},
    "authcache_codec_seconds_count": {"op": ("encode", "decode"), "object": ObjectKind},
    "authcache_payload_bytes_count": {"object": ObjectKind},
    "authcache_entry_age_seconds_count": {"tier": Tier, "object": ObjectKind},
    "authcache_log_records_total": {
        "level": ("warning", "error"),
        "signature": Signature,
        "key_scope": KeyScope,
    },
    "authcache_redis_gets_total": {
        "purpose": ("lookup", "claim", "lease_poll", "script", "spend", "generation")
    },
    "authcache_invalidations_total": {"event": Invalidated, "object": ObjectKind},
    "authcache_lookups_asked_total": {"op": Op, "object": ObjectKind, "key_scope": KeyScope},
    "authcache_failed_reads_total": {
        "object": ObjectKind,
        "logged": ("pair", "warning", "nothing"),
        "key_scope": KeyScope,
    },
    "authcache_pending": {},
    "http_requests_total": {
        "route": ROUTES,
        "status": (*STATUSES, OTHER_STATUS),
        "key_scope": KeyScope,
    },
    "http_request_duration_seconds_count": {"route": ROUTES},
}
"""By sample name; every one has the variant too."""
BUCKETS = {
    "authcache_codec_seconds": CODEC_BUCKETS,
    "authcache_payload_bytes": SIZE_BUCKETS,
    "authcache_entry_age_seconds": AGE_BUCKETS,
    "http_request_duration_seconds": LATENCY_BUCKETS,
}


def metrics() -> Metrics:
    return Metrics("mine", BUILD)


def page(of: Metrics) -> Counters:
    return Counters.parse(of.render()[0].decode())


def samples(of: Metrics) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Values by sample name and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for (name, labels), value in page(of).items():
        found.setdefault(name, {})[labels] = value
    return found


@pytest.fixture(scope="module")
def fresh() -> Mapping[str, Mapping[frozenset[tuple[str, str]], float]]:
    """The samples of a worker that has done nothing."""
    return samples(metrics())


@pytest.mark.parametrize("name", LABELS)
def test_every_combination_is_there_at_0(
    name: str, fresh: Mapping[str, Mapping[frozenset[tuple[str, str]], float]]
) -> None:
    expected = {
        frozenset({("variant", "mine"), *zip(LABELS[name], map(str, values), strict=True)})
        for values in product(*LABELS[name].values())
    }

    assert fresh[name] == dict.fromkeys(expected, 0.0)


def test_there_is_nothing_else() -> None:
    suffixes = ("_bucket", "_count", "_sum")
    histograms = {f"{name}{suffix}" for name, suffix in product(BUCKETS, suffixes)}

    assert samples(metrics()).keys() == LABELS.keys() | histograms | {"authcache_build_info"}
    (build,) = samples(metrics())["authcache_build_info"]
    assert dict(build) == {"variant": "mine", **BUILD}


def test_the_page_is_prometheus_text_whatever_the_variant_is_called() -> None:
    odd = Metrics('a "quoted"\nname\\', BUILD)

    text, content_type = odd.render()

    assert content_type.startswith("text/plain")
    families = list(text_string_to_metric_families(text.decode()))
    assert {family.type for family in families} == {"counter", "gauge", "histogram"}
    assert page(odd).sum("authcache_build_info", variant='a "quoted"\nname\\') == 1


def test_a_page_can_be_asked_for_some_names() -> None:
    text = metrics().render(["authcache_pending"])[0].decode()

    assert [family.name for family in text_string_to_metric_families(text)] == ["authcache_pending"]


def le(bound: float) -> str:
    text: Any = floatToGoString
    return str(text(bound))


@pytest.mark.parametrize("name", BUCKETS)
def test_histograms_have_the_bounds_that_they_are_said_to_have(name: str) -> None:
    bounds = {dict(labels)["le"] for labels in samples(metrics())[f"{name}_bucket"]}

    assert {float(bound) for bound in bounds} == {*BUCKETS[name], math.inf}


@given(
    bounds=st.lists(st.floats(0, 1e4), min_size=1, max_size=6, unique=True).map(sorted),
    data=st.data(),
)
def test_a_bucket_counts_what_is_at_most_its_bound(
    bounds: list[float], data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.sampled_from(bounds) | st.floats(0, 1e5), max_size=20))
    registry = CollectorRegistry()
    one = Histograms(registry, "mine", "A histogram.", ("of",), bounds).table({1: ("a",)})[1]
    for value in values:
        one.observe(value)

    counted = Counters.parse(generate_latest(registry).decode())
    for bound in bounds:
        at_most = sum(value <= bound for value in values)
        assert counted.sum("mine_bucket", of="a", le=le(bound)) == at_most
    assert counted.sum("mine_bucket", le="+Inf") == counted.sum("mine_count") == len(values)
    assert counted.sum("mine_sum") == pytest.approx(sum(values))


def test_a_trace_is_counted_under_its_scope() -> None:
    one, trace = metrics(), Trace(KeyScope.MEMBER)
    trace.asked.append(Asked(Op.LOAD, ObjectKind.USER))
    trace.lookups += [Lookup(Tier.REDIS, Op.LOAD, Outcome.HIT, ObjectKind.USER)] * 2
    trace.source_reads.append(SourceRead(ObjectKind.USER, ReadReason.REFRESH))
    trace.waits.append(Wait(ObjectKind.USER, Coalesced.BEFORE_SOURCE))

    one.commit(trace)

    counted = page(one)
    labels = {"key_scope": "member", "object": "user"}
    assert counted.sum("authcache_lookups_asked_total", op="load", **labels) == 1
    assert counted.sum("authcache_lookups_total") == 2
    assert counted.sum("authcache_lookups_total", tier="redis", outcome="hit", **labels) == 2
    assert counted.sum("authcache_source_reads_total", reason="refresh", **labels) == 1
    assert counted.sum("authcache_coalesced_total", stage="before_source", **labels) == 1


def test_what_belongs_to_no_trace_is_counted_at_once() -> None:
    one = metrics()
    one.source_read_error(ObjectKind.TEAM)
    one.write(Tier.REDIS, WriteOutcome.SKIPPED, ObjectKind.KEY)
    one.encoded(ObjectKind.KEY, 700, 0.001)
    one.redis_get("lease_poll")
    one.background(+3)
    one.background(-1)
    one.request_started()

    counted = page(one)
    assert counted.sum("authcache_source_read_errors_total", object="team") == 1
    assert counted.sum("authcache_writes_total", outcome="skipped", object="key") == 1
    assert counted.sum("authcache_payload_bytes_sum", object="key") == 700
    assert counted.sum("authcache_codec_seconds_count", op="encode", object="key") == 1
    assert counted.sum("authcache_redis_gets_total", purpose="lease_poll") == 1
    assert counted.sum("authcache_pending") == one.pending == 3


def test_commands_show_as_the_client_counts_them() -> None:
    one, sent = metrics(), {"get": 0}
    one.redis_sends(sent)
    assert page(one).sum("authcache_redis_sent_total") == 0
    sent["get"], sent["evalsha"] = 2, 1
    counted = page(one).by("authcache_redis_sent_total", "command", variant="mine")
    assert counted == {("get",): 2, ("evalsha",): 1}


def test_failed_reads_count_by_what_is_logged_of_them() -> None:
    one = metrics()
    one.failed_read(ObjectKind.TEAM, "pair", KeyScope.MEMBER)
    counted = page(one).by("authcache_failed_reads_total", "object", "logged", "key_scope")
    assert counted == {("team", "pair", "member"): 1}


def test_records_are_counted_by_level_signature_and_scope() -> None:
    one = metrics()
    handler = LogCounter(one)
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        logs.validation_failed(KeyScope.TEAM, "LiteLLM_UserTable", ValueError("no"))
        logs.typed_read_failed(KeyScope.TEAM, "an id", "LiteLLM_UserTable")
        logging.getLogger("another library").error("something else")
        logging.getLogger("another library").critical("worse")
        logging.getLogger("another library").error("x", extra={"signature": "unheard of"})
        logging.getLogger("another library").info("nothing")
    finally:
        logger.removeHandler(handler)

    assert page(one).by("authcache_log_records_total", "level", "signature", "key_scope") == {
        ("warning", "codec_validation_failed", "team"): 1,
        ("error", "typed_read_failed", "team"): 1,
        ("error", "other", "unknown"): 3,
    }


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", ["litellm_1_84", "recommended"])
async def test_under_load_no_label_holds_an_id_and_nothing_stays_pending(
    baseline: Fleet, variant: str
) -> None:
    keys = [one for several in (await seed(baseline.dsn)).values() for one in several]
    async with node(baseline, VARIANTS[variant].switches, planted_null_user=True) as one:
        assert one.counters().by("http_requests_total") == {}
        known = {series for series, _ in one.counters().items()}
        secrets = [key.secret for key in keys] * 5 + ["sk-unknown", "no key"]
        answers = await asyncio.gather(*(one.chat(secret) for secret in secrets))
        await one.chat(keys[0].secret, model="another")
        await one.settled()

        counted = one.counters()
        log = (await one.http.get("/metrics/reads")).json()
        newest = (await one.http.get("/metrics/reads", params={"after": log["count"] - 1})).json()
        nothing = await one.http.get("/metrics/reads", params={"after": "x"})
    # Each read once, with its object: those of waiters, refusals and planted users too.
    known_objects = owned_objects(keys, planted_null_user=True)
    reads = resolve([[LoggedRead(*read) for read in log["reads"]]], known_objects)
    by_kind = Counter((read.kind,) for read in reads)
    assert by_kind == counted.by("authcache_source_reads_total", "object")
    assert log["count"] == len(reads)
    assert newest["reads"] == log["reads"][-1:]
    assert nothing.status_code == 400
    assert sum(read.scope == "unknown" for read in reads) >= 1, "of a key that no one has"
    if variant == "recommended":
        assert {read.object for read in reads} > set(known_objects)
    statuses = [answer.status_code for answer in answers]
    assert counted.by("http_requests_total", "status") == {
        ("200",): statuses.count(200),
        ("401",): statuses.count(401),
        ("403",): 1,
    }
    assert statuses.count(200) == 20
    by_scope = counted.by("http_requests_total", "key_scope", status="200")
    assert by_scope == {(key.scope,): 5 for key in keys}
    # No series appears that was not there at 0: so no label can hold an id.
    assert {series for series, _ in counted.items()} == known
    labels = {value for (_, pairs), _ in counted.items() for _, value in pairs}
    ids = {getattr(key, name) for key in keys for name in ("token", "alias", "user_id", "team_id")}
    assert not labels & ids
    assert counted.sum("authcache_pending") == 0


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_only_what_a_client_asks_for_is_a_request(baseline: Fleet) -> None:
    async with node(baseline, VARIANTS["memory_only"].switches) as one:
        for path in ("/metrics", "/health/liveliness", "/health/readiness"):
            assert (await one.http.get(path)).status_code == 200
        assert (await one.http.get("/v1/nothing")).status_code == 404
        assert (await one.http.get("/v1/chat/completions")).status_code == 405
        assert (await one.http.get("/v1/models")).status_code == 401

        assert one.counters().by("http_requests_total", "route", "status") == {
            ("other", "404"): 1,
            ("other", "405"): 1,
            ("/v1/models", "401"): 1,
        }
        assert one.metrics.pending == 0


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_without_metrics_there_is_no_page(baseline: Fleet) -> None:
    switches = VARIANTS["litellm_1_84"].switches
    async with node(baseline, switches, metrics=False) as one:
        assert (await one.http.get("/metrics")).status_code == 404
