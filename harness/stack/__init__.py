"""The life cycle of servers and fleets. Nothing above this package knows what runs them.

Start in `base`, the seam: ``start(FleetSpec) -> Fleet``. `harness.stack.embedded` runs child
processes, `harness.stack.compose` containers; `registry` finds one by its name.
"""
