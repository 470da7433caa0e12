"""Codecs: how an object becomes a payload and a payload an object. One module a codec.

A codec is a class with a ``name``, `encode` and `decode`; see `Codec`. To add one to the project,
write a module here and decorate the class with `register`. To try one of your own without touching
the project, name it ``module:Class`` wherever a codec is asked for, or publish it under the entry
point group ``harness.codecs``.
"""

from harness.authcache.codecs.base import Codec, ForeignPayloadError
from harness.authcache.codecs.registry import codec_names, load_codec, register

__all__ = ["Codec", "ForeignPayloadError", "codec_names", "load_codec", "register"]
