"""The harness's own Prometheus: found on this machine, run during a load test, opened on its data.

It is for exploration. Figures in reports come from snapshots at the edges of windows, never from
PromQL, whose ``increase()`` extrapolates.
"""
