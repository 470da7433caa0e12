"""Codecs turn a cached object into a payload and back.

A codec is a class with a ``name``, `encode` and `decode`; see `Codec`. To add one to the project,
write a module here and decorate the class with `register`. To try one of your own without touching
the project, name it ``module:Class`` wherever a codec is named, or publish it under the entry
point group ``harness.codecs``.
"""

from harness.authcache.codecs.base import Codec, ForeignPayloadError
from harness.authcache.codecs.registry import codec_names, load_codec, register

__all__ = ["Codec", "ForeignPayloadError", "codec_names", "load_codec", "register"]
