"""What pages look like, whoever makes them."""

from importlib.resources import files

PALETTE = files("harness.style").joinpath("palette.css")
"""A style sheet of custom properties: the colours of variants, outcomes and cells."""
