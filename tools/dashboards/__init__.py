"""Grafana dashboards as code, and pictures of them.

``python -m tools.dashboards generate`` writes ``dashboards/*.json`` from this package, with
`grafana-foundation-sdk <https://github.com/grafana/grafana-foundation-sdk>`_, which is a dependency
of development only: users of the JSON need neither.

=====================  =====================================================================
`promql`               queries, built from the names of metrics
`parts`                panels, variables and annotations that the dashboards share
`compared`, `fleet`    the two dashboards
`generate`             writes them, or lists what differs
`substitute`           expands a query as Grafana does before it sends it
`render`               draws a dashboard's JSON with the data of a live Prometheus
=====================  =====================================================================
"""
