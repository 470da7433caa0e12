"""Starts a replica as `boot` does, with one fault in its instrumentation: AUTHCACHE_TEST_FAULT.

It runs in the environment of a release, where neither the tests nor pytest can be imported.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULT, _, POINT = os.environ["AUTHCACHE_TEST_FAULT"].partition(" ")
BOOT = Path(__file__).parents[4] / "harness" / "targets" / "litellm" / "inside" / "boot.py"


def fail(*_: Any) -> Any:
    """The fault of a point."""
    raise AttributeError(f"planted: {POINT or FAULT}")


def main() -> None:
    """Plant the fault, then start."""
    boot = runpy.run_path(str(BOOT), run_name="boot")
    sys.meta_path.insert(0, boot["Finder"]({"harness": boot["HARNESS"]}))
    from harness.targets.litellm.inside import controls, lookups  # noqa: PLC0415 - found only now
    from harness.targets.litellm.inside.guard import Guard  # noqa: PLC0415 - as above

    wrap, run = Guard.wrap, Guard.run

    def wrap_but_one(self: Guard, point: Any, how: Callable[[], None]) -> None:
        wrap(self, point, fail if point == POINT else how)

    def run_nothing(self: Guard, point: Any, function: Any, /, *args: Any) -> None:
        del function, args
        run(self, point, fail)

    class Blind(lookups.OpenLookup):
        """Notices no failure, but in the control."""

        __slots__ = ()
        failed = property(lambda _: False, lambda _, __: None)

    if FAULT == "without":
        Guard.wrap = wrap_but_one  # type: ignore[assignment,method-assign]
    elif FAULT == "failing":
        Guard.run = run_nothing  # type: ignore[method-assign]
    elif FAULT == "blind":
        assert vars(controls)["OpenLookup"] is lookups.OpenLookup
        lookups.OpenLookup = Blind  # type: ignore[misc]
    boot["main"]()


if __name__ == "__main__":
    main()
