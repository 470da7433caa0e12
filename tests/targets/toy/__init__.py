"""A third kind of target, in one folder: what the seam asks of one, and no more."""
