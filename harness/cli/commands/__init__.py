"""What commands do once their words are parsed. `harness.cli` declares them, and imports none."""
