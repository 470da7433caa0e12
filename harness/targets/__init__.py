"""What a replica runs. Nothing above this package knows which target a fleet has.

Start in `base`, the seam. `harness.targets.reference` is the reference proxy with its switches,
`harness.targets.litellm` real releases. `metrics` has the counters of every worker.
"""
