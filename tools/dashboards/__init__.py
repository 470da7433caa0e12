"""Grafana dashboards as code, and pictures of them.

``python -m tools.dashboards generate`` writes ``dashboards/*.json`` from what stands here, by
`grafana-foundation-sdk <https://github.com/grafana/grafana-foundation-sdk>`_, which is a dependency
of development only: whoever uses the JSON needs nothing of this package.

=====================  =====================================================================
`promql`               queries, built from the names of metrics
`parts`                panels, variables and annotations that the dashboards share
`compared`, `fleet`    the two dashboards
`generate`             writes them, or says what differs
`substitute`           does to a query what Grafana does before it sends it
`render`               draws a dashboard's JSON with the data of a live Prometheus
=====================  =====================================================================
"""
