"""A run on disk: what is written while it runs, and how it is found and read again.

Start in `directory`, which names the parts of a run's directory. `manifest` says what a reader
needs to run the same again, `snapshots` keeps what every worker counted.
"""
