"""The tables of LiteLLM, which the reference proxy has too: how they are filled and read.

management.py   how each action is carried out, by API and by SQL
statements.py   which statement reads which object
truth.py        which objects and which status are right for a key
database.py     seeding, spend and truth, as a `harness.targets.base.Database`
"""
