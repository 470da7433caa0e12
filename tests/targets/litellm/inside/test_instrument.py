from __future__ import annotations

import logging

import pytest

from harness.authcache.logs import Signature
from harness.observe.counters import Counters
from harness.targets.litellm.inside.instrument import ScopedLogCounter, signature
from harness.targets.litellm.inside.request import Requests
from harness.targets.metrics import Metrics


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "CacheCodec.deserialize: validation failed for %s (%s)",
            Signature.CODEC_VALIDATION_FAILED,
        ),
        (
            "UserApiKeyCache.async_get_cache failed to deserialize cached value for key=%r",
            Signature.TYPED_READ_FAILED,
        ),
        ("something else went wrong", Signature.OTHER),
    ],
)
def test_signatures(text: str, found: Signature) -> None:
    record = logging.LogRecord("LiteLLM Proxy", logging.ERROR, "f", 1, text, ("a", "b"), None)
    assert signature(record) is found


@pytest.mark.parametrize("records", [1, 100])
def test_a_record_counts_once_though_two_loggers_pass_it_on(records: int) -> None:
    """Also where a record has the id of one that is gone."""
    metrics = Metrics("x", {})
    counter = ScopedLogCounter(Requests(metrics))
    parent = logging.getLogger("tests.litellm.parent")
    child = logging.getLogger("tests.litellm.parent.child")
    for logger in (parent, child):
        logger.addHandler(counter)
    try:
        for number in range(records):
            child.error("UserApiKeyCache.get_cache failed to deserialize %s", number)
            child.info("quiet")
    finally:
        for logger in (parent, child):
            logger.removeHandler(counter)
    counted = Counters.parse(metrics.render()[0].decode())
    found = counted.by("authcache_log_records_total", "level", "signature")
    assert found == {("error", "typed_read_failed"): records}
