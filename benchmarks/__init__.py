"""What each part costs: `harness bench`. The method is in docs/benchmarks.md."""
