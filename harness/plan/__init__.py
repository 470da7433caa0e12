"""What a run will do, decided before anything starts: fleets, windows, their order, their load.

Start in `plan`. `arms` turns variants and releases into targets, `commands` makes the load driver's
command for each window, `reference_line` computes what a correct cache would read.
"""
