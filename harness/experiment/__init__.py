"""A run from its plan to its reports: servers up, windows measured one by one, servers down.

Start in `run`, which a command calls. `record` carries the plan out, `measure` measures one window
of one fleet, `companions` runs beside it, and `pace` finds the rate where a release takes part.
"""
