from __future__ import annotations

from dataclasses import replace

from tests.observe.build import evidence, page, series


def test_a_worker_that_was_replaced_shows() -> None:
    window = evidence()
    assert window.fallen == []
    earlier = replace(window.before, workers=(page(series("http_requests_total", 5, a="b")),))
    assert replace(window, before=earlier).fallen == ["http_requests_total"]
    assert replace(window, before=replace(window.before, workers=())).fallen == ["workers"]
