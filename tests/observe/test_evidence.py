from __future__ import annotations

from dataclasses import replace

from harness.domain.window import ServedCount
from tests.observe.build import evidence, page, series


def test_wrong_values_are_counted_by_scope_and_object() -> None:
    right = evidence().generator.served[0]
    served = [
        right,
        right.model_copy(update={"digest": "another", "count": 3}),
        ServedCount(
            scope="team",
            key_index=0,
            object="user",
            tier="redis",
            digest="anything",
            count=2,
            age_ms_max=None,
        ),
    ]
    window = evidence(generator={"served": served})
    # The user is not in the truth of that key: serving one at all is wrong.
    assert window.wrong_values == {("team", "key"): 3, ("team", "user"): 2}
    assert evidence().wrong_values == {}


def test_a_worker_that_was_replaced_shows() -> None:
    window = evidence()
    assert window.fallen == []
    earlier = replace(window.before, workers=(page(series("http_requests_total", 5, a="b")),))
    assert replace(window, before=earlier).fallen == ["http_requests_total"]
    assert replace(window, before=replace(window.before, workers=())).fallen == ["workers"]
