"""A Prometheus of one's own: found on this machine, run beside a load test, opened on its data.

It is for looking. Figures in reports come from snapshots at the edges of windows, never from
PromQL, whose ``increase()`` extrapolates.
"""
