"""The entry point of ``locust -f locustfile.py``; the rest is in harness/load and harness/ui.

    locust -f locustfile.py --hosts http://127.0.0.1:4000,http://127.0.0.1:4001 --keys-file KEYS

``locust --help`` does not load this file, so its options are listed here. Each can also be set in
the environment (``--hosts`` from ``AUTHCACHE_HOSTS``, ``--keys-file`` from ``AUTHCACHE_KEYS``, the
others from ``AUTHCACHE_`` and their name):

==================  ============================================================================
option              meaning
==================  ============================================================================
``--hosts``         base URLs of the replicas, separated by commas; ``NAME=URL,URL;NAME=URL``
                    for several fleets; without it, ``--host``
``--keys-file``     the virtual keys: a JSON file that the harness wrote
``--fleet``         the fleet that gets the load: ``all``, or a name
``--load-model``    ``open`` (requests arrive at a rate) or ``closed`` (users wait for replies)
``--arrival-rate``  open: requests per second in all; with Locust workers each drives its share
``--mix``           weights of the key scopes, e.g. ``team=3,user=2``
``--zipf``          popularity of the keys of a scope: the k-th gets weight 1/k^ZIPF; 0: all alike
``--rate``          closed: requests per second of one user, at random moments
``--seed``          open: seed of the arrivals
==================  ============================================================================

The web UI's own (``--metrics``, ``--snapshots``, ``--preset``, ``--reference``) are described in
harness/ui/__init__.py.
"""

from __future__ import annotations

from locust import events

from harness.load.standalone import register
from harness.load.users import MemberKeyUser, SharedIdKeyUser, TeamKeyUser, UserKeyUser
from harness.ui.register import register as register_ui

__all__ = ["MemberKeyUser", "SharedIdKeyUser", "TeamKeyUser", "UserKeyUser"]

register(events)
register_ui(events)
