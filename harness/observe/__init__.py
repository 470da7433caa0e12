"""What is counted during a window, and the ledger that reconciles it.

Start in `evidence`: everything known about one window. `snapshots` reads replicas, Redis and
Postgres at rest, and `ledger` reconciles their counts.
"""
