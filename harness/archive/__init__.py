"""A run on disk: files written while it runs, and how a run is found and read.

Start in `directory`, which names the parts of a run's directory. `manifest` records what a reader
needs to repeat the run, `snapshots` stores what every worker counted.
"""
