"""Bodies of the commands. `harness.cli` declares the commands, and imports none of these."""
