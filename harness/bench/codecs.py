"""Encode and decode of every codec against LiteLLM's way, on a key object of LiteLLM's size."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Iterator

from harness.authcache.codecs import codec_names, load_codec
from harness.authcache.objects import Key
from harness.authcache.words import ObjectKind
from harness.bench.step import Figures
from harness.errors import CodecError

LITELLM = "litellm"
"""The name under which LiteLLM's way stands among the codecs."""

_MICRO = 1_000_000
