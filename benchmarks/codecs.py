"""Encode and decode of every codec against LiteLLM's way, on a key object of LiteLLM's size."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.sample_key import sample_key
from benchmarks.step import Figures
from harness.authcache.codecs import codec_names, load_codec
from harness.authcache.objects import Key
from harness.authcache.words import ObjectKind
from harness.errors import EncodeError

LITELLM = "litellm"
"""The name of LiteLLM's way among the codecs."""

_US = 1_000_000


class CodecStep:
    """Times all codecs in this process, in blocks of calls that take turns."""

    name = "codecs"
    shots = 1

    def __init__(self, *, quick: bool) -> None:
        self._calls, self._repeats = (20, 3) if quick else (400, 15)
        self._operations: dict[str, Callable[[], object]] = {}
        self._bytes: dict[str, float] = {}
        self.refusing: list[str] = []
        """Codecs that encode no key."""
        value = sample_key()
        self._add(LITELLM, litellm_encode(value), partial(litellm_encode, value), litellm_decode)
        for name in codec_names():
            codec = load_codec(name)
            encode = partial(codec.encode, ObjectKind.KEY, value)
            try:
                payload = encode()
            except EncodeError:
                self.refusing.append(name)
                continue
            self._add(name, payload, encode, partial(codec.decode, ObjectKind.KEY, model=Key))

    async def measure(self) -> Figures:
        """CPU microseconds of one call, and payload bytes."""
        times: dict[str, list[float]] = {name: [] for name in self._operations}
        with _no_collection():
            for _ in range(self._repeats):
                for name, operation in self._operations.items():
                    times[name].append(self._block(operation))
        return self._bytes | {name: statistics.median(each) for name, each in times.items()}

    def _add(
        self,
        name: str,
        payload: bytes,
        encode: Callable[[], bytes],
        decode: Callable[[bytes], object],
    ) -> None:
        self._operations[f"{name}.encode_us"] = encode
        self._operations[f"{name}.decode_us"] = partial(decode, payload)
        self._bytes[f"{name}.bytes"] = float(len(payload))

    def _block(self, operation: Callable[[], object]) -> float:
        start = time.thread_time()
        for _ in range(self._calls):
            operation()
        return (time.thread_time() - start) * _US / self._calls


def litellm_encode(value: Key) -> bytes:
    """A dump to JSON-safe values, and then those to text (LiteLLM 1.84, PR #26202)."""
    return json.dumps(value.model_dump(mode="json", exclude_none=True)).encode()


def litellm_decode(payload: bytes) -> Key:
    """The other way round: text to values, and those validated."""
    return Key.model_validate(json.loads(payload))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector out of the figures, as `timeit` does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
