"""The reference proxy as a kind of target: a variant is a named set of its switches."""

from __future__ import annotations

from harness.authcache.codecs import load_codec
from harness.authcache.codecs.probe import probe
from harness.authcache.variants import Variant, load_variants, pick
from harness.domain.progress import Progress
from harness.targets.base import WARNING, Target, TargetKind
from harness.targets.schema.database import LiteLLMDatabase


class ReferenceKind(TargetKind[Variant]):
    """Variants of `harness.authcache.variants`, those of a user's file included."""

    name = "reference"
    database = LiteLLMDatabase()

    def owns(self, variant: str) -> bool:
        """Every name: the registry asks the other kinds first."""
        return bool(variant)

    def known(self, name: str) -> bool:
        """The built-in variants."""
        return name in load_variants()

    def choose(self, variant: str) -> Variant:
        """A built-in variant. Raises UnknownNameError."""
        return pick(load_variants(), [variant])[0]

    async def target(self, choice: Variant, progress: Progress) -> Target:
        """The variant's target, after a codec trial. Raises CodecLoadError."""
        target = self.ready(choice)
        for note in target.notes:
            progress.note(note)
        return target

    def ready(self, variant: Variant) -> Target:
        """As `target`, without waiting."""
        from harness.targets.reference.target import ReferenceTarget  # noqa: PLC0415 - see `TargetKind`

        codec = variant.switches.codec
        warnings = probe(load_codec(codec), codec, variant.switches.models)
        notes = tuple(f"{WARNING}{variant.name}: {text}" for text in warnings)
        return ReferenceTarget(variant, notes)
