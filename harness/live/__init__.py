"""Stacks that stay up until they are stopped: fleets, Locust's web UI, the Compose project.

Start in `keep` for fleets alone (``harness fleet``), in `web` for fleets with the web UI
(``harness ui``), in `compose_up` for containers (``harness up``, ``harness down``). `prepare`
prepares a fleet's database from inside a cluster.
"""
