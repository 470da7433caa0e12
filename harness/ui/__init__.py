"""Locust's web UI with a tab of our own: what every cache tier of every replica does, live.

``locust -f locustfile.py`` shows it wherever Locust's web UI runs: alone, or on a master with
workers (only the master reads the replicas). It needs the replicas' addresses and metrics pages:

=====================  ============================================================================
option, environment    meaning
=====================  ============================================================================
``--hosts``            where the load goes: ``NAME=URL,URL;NAME=URL``, a fleet each; one fleet
``AUTHCACHE_HOSTS``    alone needs no name (declared in `harness.load.options`)
``--metrics``          ``/metrics`` of every worker process, in the same form; the workers of one
``AUTHCACHE_METRICS``  replica are joined by ``+``: ``NAME=URL+URL,URL+URL;NAME=…``
``--snapshots``        instead of ``--metrics``: the harness's exporter, which finds the workers
``AUTHCACHE_SNAPSHOTS``  itself, e.g. ``http://127.0.0.1:9464/snapshots``; in turn it is sent the
                       load's counts, for the dashboards (`harness.ui.push`)
``--changes``          where the harness that keeps these fleets up makes changes, and says which
``AUTHCACHE_CHANGES``  workers still serve the old version (`harness.experiment.by_hand`);
                       ``harness ui`` gives it, without it the tab has no changes
``--keys-file``        the virtual keys; master and workers read the same path
``AUTHCACHE_KEYS``
``--preset``           a built-in scenario that gives load model, arrival rate and mix, unless
``AUTHCACHE_PRESET``   these are given themselves; in the form, choosing one fills them in
``--reference``        objects by key scope and TTL in seconds, for the reference line, e.g.
``AUTHCACHE_REFERENCE``  ``2;team=9,user=6``; without it there is none
``--note``             a sentence above the numbers; what a scenario plants must be named there
``AUTHCACHE_NOTE``
=====================  ============================================================================

``AUTHCACHE_FLEET``, ``AUTHCACHE_LOAD_MODEL``, ``AUTHCACHE_ARRIVAL_RATE``, ``AUTHCACHE_MIX``,
``AUTHCACHE_RATE`` and ``AUTHCACHE_SEED`` preset the other fields of the form; ``LOCUST_USERS``,
``LOCUST_SPAWN_RATE``, ``LOCUST_WEB_HOST`` and ``LOCUST_WEB_PORT`` are Locust's own. Hosts and keys
that are given here cannot be changed in the form, so that the load cannot be sent elsewhere.

``/auth-cache`` is the page, ``/auth-cache/data`` its numbers as JSON, ``/auth-cache/csv`` every
counter that changed since the start of the test. None of them contains a key, a user or a team id.
"""
