"""The cache's log records, and the signatures that they are counted under.

The log pair has the shape of issue #27874: a WARNING by the codec with the validation error, then
an ERROR by the typed read with cache key and model. A pair is counted by its ERROR.
"""

from __future__ import annotations

import logging
from enum import StrEnum

from harness.authcache.words import KeyScope, ObjectKind

logger = logging.getLogger("harness.authcache")


class Signature(StrEnum):
    """The closed list of log signatures; anything else counts as ``other``."""

    CODEC_VALIDATION_FAILED = "codec_validation_failed"
    TYPED_READ_FAILED = "typed_read_failed"
    ENCODE_FAILED = "encode_failed"
    REDIS_OUTAGE = "redis_outage"
    SPEND_UPDATE_FAILED = "spend_update_failed"
    OTHER = "other"


def say(level: int, signature: Signature, scope: KeyScope, message: str, *args: object) -> None:
    """Log one record that carries its signature and key scope."""
    logger.log(
        level, message, *args, extra={"signature": signature.value, "key_scope": scope.value}
    )


def validation_failed(scope: KeyScope, model: str, error: BaseException) -> None:
    """First half of the pair: a payload is not an object of the requested type."""
    say(
        logging.WARNING,
        Signature.CODEC_VALIDATION_FAILED,
        scope,
        "CacheCodec.deserialize: validation failed for %s (%s)",
        model,
        error,
    )


def typed_read_failed(scope: KeyScope, key: str, model: str) -> None:
    """Second half of the pair."""
    say(
        logging.ERROR,
        Signature.TYPED_READ_FAILED,
        scope,
        "AuthCache.load failed to deserialize cached value for key=%r model_type=%s",
        key,
        model,
    )


def encode_failed(kind: ObjectKind, key: str, error: BaseException) -> None:
    """An object could not be written."""
    say(
        logging.ERROR,
        Signature.ENCODE_FAILED,
        KeyScope.UNKNOWN,
        "AuthCache.put cannot encode %s for key=%r: %s",
        kind,
        key,
        error,
    )


def redis_outage(error: BaseException, *, refused: bool = False) -> None:
    """Redis stopped answering, or refuses commands; limited to one record per outage."""
    say(
        logging.ERROR,
        Signature.REDIS_OUTAGE,
        KeyScope.UNKNOWN,
        "Redis refuses a command (%s: %s): requests continue without what it would have done"
        if refused
        else "Redis does not answer (%s: %s): the breaker is open, requests continue without it",
        type(error).__name__,
        error,
    )


def redis_back() -> None:
    """Redis answers again and has failed at nothing for a while."""
    say(
        logging.WARNING,
        Signature.REDIS_OUTAGE,
        KeyScope.UNKNOWN,
        "Redis answers again: requests use it",
    )
