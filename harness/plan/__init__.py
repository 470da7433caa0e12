"""What a run will do, decided before anything starts: fleets, windows, their order, their load.

Start in `plan`. `arms` makes targets of variants and releases, `commands` the load driver's command
of each window, `seed` writes the population into a fleet's database.
"""
