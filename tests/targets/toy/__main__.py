"""The `harness` command with the toy in it: ``python -m tests.targets.toy loadtest …``."""

from harness.__main__ import main
from harness.targets.registry import register
from tests.targets.toy.kind import ToyKind

register(ToyKind())
main()
