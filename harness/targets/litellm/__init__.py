"""Real LiteLLM releases as replicas: installed, connected to Postgres, watched from outside.

releases.py      which releases there are, by name; 1.107 is refused
pins.py          what goes into a release's environment: hashed pins, recorded relaxations
resolve.py       makes pins
environment.py   the installed environments in the user's cache
install.py       makes one, removes one
uv.py            the package manager: its command lines, how it is run
problems.py      what its failures mean
folders.py       folders that are whole or not there
listing.py       the output of `harness releases`
target.py        a release as a target
migrations.py    the release's own database schema
inside/          the code that runs in a release's environment
"""
