"""Load-test and observability harness for two-tier auth caches behind a multi-replica gateway."""

__version__ = "0.1.0"
