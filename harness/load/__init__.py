"""The load: which request is sent when, and how it ended.

Start in `plan`, which decides when requests arrive and with which key. `client` is the harness's
end of the load driver, `driver` the driver's own process. `standalone` is what ``locust -f
locustfile.py`` runs without a harness. Only this package and `harness.ui` import Locust and gevent.
"""
