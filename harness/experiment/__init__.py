"""A run from its plan to its reports: servers up, windows measured one by one, servers down.

Start in `run`, which a command calls. `record` carries out the plan, `measure` measures one window
of one fleet, `companions` runs the exporter and Prometheus for it, and `pace` finds the rate that
releases sustain.
"""
