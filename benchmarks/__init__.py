"""What each part costs: `make bench`. The method is in docs/benchmarks.md."""
