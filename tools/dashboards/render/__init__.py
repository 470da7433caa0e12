"""The harness's own rendering of a dashboard's JSON, for machines without Grafana.

It reads the same file that Grafana imports, sends the same queries to a live Prometheus, and lays
the panels out on the same grid. It is not Grafana: every picture says so.
"""
