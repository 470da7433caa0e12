"""LiteLLM's log records, by the signatures that the reference proxy uses too."""

from __future__ import annotations

import logging
from weakref import WeakSet

from harness.authcache.logs import Signature
from harness.targets.litellm.inside.request import Requests

_BEGINNINGS: tuple[tuple[str, Signature], ...] = (
    ("CacheCodec.deserialize: validation failed", Signature.CODEC_VALIDATION_FAILED),
    ("UserApiKeyCache.async_get_cache failed to deserialize", Signature.TYPED_READ_FAILED),
    ("UserApiKeyCache.get_cache failed to deserialize", Signature.TYPED_READ_FAILED),
    ("LiteLLM Redis Caching: async set() - Got exception", Signature.ENCODE_FAILED),
    ("Spend tracking - failed", Signature.SPEND_UPDATE_FAILED),
)
LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
"""LiteLLM's own loggers, of which some releases do not propagate."""


class LogCounter(logging.Handler):
    """Counts every record of level WARNING and above under the key scope of its request."""

    def __init__(self, requests: Requests) -> None:
        super().__init__(logging.WARNING)
        self._requests = requests
        # Not by id(): a record that is gone leaves its id to the next one.
        self._counted: WeakSet[logging.LogRecord] = WeakSet()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record, once, however many loggers it passes."""
        if record in self._counted:
            return
        self._counted.add(record)
        level = "warning" if record.levelno < logging.ERROR else "error"
        scope = self._requests.current.scope
        self._requests.metrics.log_record(level, signature(record), scope)

    def install(self) -> None:
        """Listen at the root and at every logger of LiteLLM's."""
        for name in (None, *LOGGERS):
            logging.getLogger(name).addHandler(self)


def signature(record: logging.LogRecord) -> Signature:
    """What a record says, told by the beginning of its unformatted message."""
    text = str(record.msg)
    for beginning, found in _BEGINNINGS:
        if text.startswith(beginning):
            return found
    return Signature.OTHER
