"""What is counted during a window, and the ledger that reconciles it.

Start in `evidence`: everything that is known of one window. `snapshots` reads replicas, Redis and
Postgres at rest, `truth` says what is right for every key, and `ledger` holds the counts against
each other.
"""
