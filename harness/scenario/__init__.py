"""Scenarios: population, premises, load, durations and expectations of a run, as TOML.

Start in `schema`, which has every field with its rule; `loader` reads a file and the command line's
changes, `sizing` refuses a load that is too low. The built-in scenarios are in ``builtin/``.
"""
