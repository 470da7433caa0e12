"""What ``locust -f locustfile.py`` finds; everything else is in harness/load.

    locust -f locustfile.py --hosts http://127.0.0.1:4000,http://127.0.0.1:4001 --keys-file KEYS

``locust --help`` does not load this file, so its options stand here:

=============  ==================  ==========================================================
option         environment         meaning
=============  ==================  ==========================================================
--hosts        AUTHCACHE_HOSTS     base URLs of the replicas, separated by commas; else --host
--keys-file    AUTHCACHE_KEYS      the virtual keys: a JSON file that the harness wrote
--mix          AUTHCACHE_MIX       weights of the key scopes, e.g. team=3,user=2
--rate         AUTHCACHE_RATE      requests per second of one user, at random moments
=============  ==================  ==========================================================
"""

from __future__ import annotations

from locust import events

from harness.load.standalone import register
from harness.load.users import MemberKeyUser, SharedIdKeyUser, TeamKeyUser, UserKeyUser

__all__ = ["MemberKeyUser", "SharedIdKeyUser", "TeamKeyUser", "UserKeyUser"]

register(events)
