"""What stays up until it is ended: fleets to drive by hand, Locust's web UI, the Compose project.

Start in `keep` for fleets alone (``harness fleet``), in `web` for fleets with the web UI
(``harness ui``), in `compose_up` for containers (``harness up``, ``harness down``). `prepare` makes
a fleet's database ready from inside a cluster.
"""
