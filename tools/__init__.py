"""Developers' tools: checks of the code, generated docs, and the dashboards."""
