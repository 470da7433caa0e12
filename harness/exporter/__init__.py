"""The harness's own exporter: series that Prometheus needs and no worker has.

One HTTP port, by default ``127.0.0.1:9464``, with

``GET /metrics``
    Prometheus text. Each request queries Postgres and Redis. One that does not answer in 0.6 s is
    down, so the page always takes less than the second that a scrape may take.
``GET /workers``
    JSON: every worker of every fleet, ``{"fleets": {VARIANT: [{"replica": 0, "worker": 0,
    "address": "10.0.0.3:9400", "path": "/workers/VARIANT/10.0.0.3:9400"}]}}``. Replicas are
    numbered in the order of their addresses.
``GET /workers/VARIANT/ADDRESS``
    That worker's ``/metrics`` page, passed through with its query (``?name[]=authcache_pending``).
    An address that no discovery returned is refused. A harness outside the containers' network
    uses it as `harness.stack.base.WorkerAddress.metrics_url` and needs no other port. Its log of
    source reads (`harness.domain.reads`) is passed through below it.
``GET /snapshots``
    JSON: the pages of all workers at once, ``{"fleets": {VARIANT: {"workers": [{"replica",
    "worker", "address", "page"}], "problems": []}}}``; ``?variant=A`` and ``?name[]=N`` narrow it.
    It takes two seconds at most: a worker that sent no page by then has ``null`` for it and a
    ``problem`` in words. ``problems`` are those that concern no single worker.
``PUT /state``
    The state of a run (`harness.exporter.state.RunState`) from a harness that drives the load
    from elsewhere. Standalone only.
``GET /state``
    The current state, for a client that changes a part of it: Locust knows only its own load
    (`harness.ui.push`).
``GET /healthy``
    200 as soon as it serves.

**Series** (all with the label ``variant``, which is the fleet's name):

=========================================================  ======================================
``authcache_statement_calls_total{object}``                 pg_stat_statements, the fleet's role
``authcache_statement_seconds_total{object}``               their execution time
``authcache_redis_keyspace_total{outcome}``                 ``hit`` or ``miss``
``authcache_redis_commands_total``                          without those of connections and INFO
``authcache_redis_memory_bytes``                            ``used_memory``
``authcache_server_up{server}``                             1 if ``postgres`` or ``redis`` answered
``authcache_replicas_expected``                             replicas that the fleet should have
``authcache_reference_line_per_1000{key_scope}``            and ``key_scope="all"``
``authcache_window_active{phase,round}``                    0 or 1
``authcache_generator_planned_total``                       requests due so far
``authcache_generator_requests_total{key_scope,status}``    requests answered, by the load side
``authcache_generator_late_total``                          requests that started late
``authcache_generator_max_delay_seconds``                   greatest delay of the latest window
``authcache_changes_total{action}``                         changes that Postgres holds
``authcache_stale_served_total{object,key_scope}``          replies beyond the promise, see below
=========================================================  ======================================

A reply is stale if only a version that ceased to be true longer ago than the promise calls for it
(`harness.analysis.answers`). The harness judges the replies of a window of changes when it has
ended; ``object`` is the object that was changed. No replica can count this: it does not know what
Postgres holds.

**Two producers.** In ``harness loadtest`` the harness itself holds the exporter
(`harness.exporter.app.Exporter`) and feeds it from `harness.experiment.companions`. Standalone,
``harness exporter --config FILE`` serves the fleets of a configuration, whose format is documented
in `harness.exporter.config`; a run in containers feeds it by `harness.exporter.push`, a load that
is started in Locust by `harness.ui.push`.
"""
