"""Who sends which request when, and what became of it. Locust and gevent are used here alone.

Start in `plan`, which says when requests arrive and with which key. `client` is the harness's end
of the load driver, `driver` the driver's own process. `standalone` is what ``locust -f
locustfile.py`` runs without a harness.
"""
