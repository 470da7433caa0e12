"""The two-tier auth cache under study: objects, codecs, tiers, coalescing, variants.

It imports nothing of the harness but `harness.errors`, and can be used alone. To test a codec of
your own, import everything from here: `register` and `Codec`, the objects, `AuthCache` over a
`MemoryTier`, and the enums of its outcomes. To read the code, start in `cache`.

Names are imported when they are first used (PEP 562), so ``import harness.authcache`` loads neither
Pydantic nor msgspec nor redis-py, and a release's environment can use `words` and `events`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.authcache.cache import AuthCache, Entry, Found, OnFailure, SourceUnavailableError
    from harness.authcache.codecs import (
        Codec,
        ForeignPayloadError,
        codec_names,
        load_codec,
        register,
    )
    from harness.authcache.codecs.probe import probe
    from harness.authcache.events import Lookup, SourceRead
    from harness.authcache.objects import Budget, CachedObject, Key, Membership, Team, User
    from harness.authcache.switches import Switches
    from harness.authcache.tiers import MemoryTier
    from harness.authcache.trace import NullRecorder, Recorder, Trace
    from harness.authcache.variants import Variant, load_variants
    from harness.authcache.words import (
        KeyScope,
        ObjectKind,
        Op,
        Outcome,
        ReadReason,
        Tier,
        WriteOutcome,
    )
    from harness.errors import CodecLoadError, DecodeError, EncodeError

__all__ = [
    "AuthCache",
    "Budget",
    "CachedObject",
    "Codec",
    "CodecLoadError",
    "DecodeError",
    "EncodeError",
    "Entry",
    "ForeignPayloadError",
    "Found",
    "Key",
    "KeyScope",
    "Lookup",
    "Membership",
    "MemoryTier",
    "NullRecorder",
    "ObjectKind",
    "OnFailure",
    "Op",
    "Outcome",
    "ReadReason",
    "Recorder",
    "SourceRead",
    "SourceUnavailableError",
    "Switches",
    "Team",
    "Tier",
    "Trace",
    "User",
    "Variant",
    "WriteOutcome",
    "codec_names",
    "load_codec",
    "load_variants",
    "probe",
    "register",
]

_HOMES = (
    "harness.errors",
    "harness.authcache.words",
    "harness.authcache.events",
    "harness.authcache.objects",
    "harness.authcache.switches",
    "harness.authcache.codecs.probe",
    "harness.authcache.codecs",
    "harness.authcache.trace",
    "harness.authcache.tiers",
    "harness.authcache.cache",
    "harness.authcache.variants",
)
"""The modules that define the names, cheapest import first: `words` needs the stdlib only."""

if not TYPE_CHECKING:  # a type checker would accept any attribute

    def __getattr__(name: str) -> object:
        for home in _HOMES if name in __all__ else ():
            module = import_module(home)
            if hasattr(module, name):
                return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
