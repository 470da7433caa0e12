"""The tables of LiteLLM, which the reference proxy has too: how they are filled and read.

statements.py   which statement reads which object
truth.py        which objects and which status are right for a key
database.py     seeding, spend and truth, as a `harness.targets.base.Database`
"""
