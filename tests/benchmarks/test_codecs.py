from __future__ import annotations

import json

from benchmarks.codecs import LITELLM, CodecStep, litellm_decode, litellm_encode
from benchmarks.sample_key import sample_key
from harness.authcache.codecs import codec_names


def test_the_sample_is_of_litellms_size() -> None:
    value = sample_key()
    payload = litellm_encode(value)

    assert len(json.loads(payload)) == 56
    assert 2_000 < len(payload) < 2_600
    assert litellm_decode(payload) == value


async def test_every_codec_is_timed_or_refuses() -> None:
    step = CodecStep(quick=True)

    figures = await step.measure()

    timed = {name.partition(".")[0] for name in figures}
    assert timed == {LITELLM, *codec_names()} - set(step.refusing)
    assert step.refusing == ["raw"]
    for name in timed:
        assert figures[f"{name}.bytes"] > 0
        assert figures[f"{name}.encode_us"] > 0
        assert figures[f"{name}.decode_us"] > 0
