"""Prometheus's configuration: what to scrape, how often, and with which labels.

**Labels.** A worker's page has ``variant`` on every series and no other label that identifies it. A
scrape adds ``variant``, ``replica`` and ``worker``. Both have ``variant`` on purpose: ``up`` and
the other series that Prometheus adds itself have only the scrape's. With ``honor_labels: false``
the scrape's wins, the page's becomes ``exported_variant``, and a ``labeldrop`` removes that, so
that no series has the same value twice. A configuration without the ``labeldrop`` still works with
every query here.

The exporter's page covers all fleets, so its scrape adds no ``variant``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WORKERS_JOB = "authcache"
"""The job of workers in dashboards and rules, on every stack."""
EXPORTER_JOB = "authcache-exporter"
SCRAPE_S = 1.0
"""A window lasts seconds, and ``$__rate_interval`` is four scrapes."""
RULES_S = 5.0
"""Between two evaluations of the rules: once a second would cost more than all scrapes."""
WORKERS_RELABELLED = [{"action": "labeldrop", "regex": "exported_variant"}]
"""``metric_relabel_configs`` of every scrape of workers."""


@dataclass(frozen=True, slots=True)
class ScrapedWorker:
    """One worker process, as Prometheus sees it."""

    variant: str
    replica: str
    worker: str
    address: str
    """Host and port."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What the scrape adds to its series."""
        return {"variant": self.variant, "replica": self.replica, "worker": self.worker}


def configuration(
    workers: Iterable[ScrapedWorker],
    exporter: str | None = None,
    *,
    rule_files: Iterable[str] = (),
    scrape_s: float = SCRAPE_S,
) -> str:
    """The text of a configuration file. It is JSON, which Prometheus reads as YAML.

    Args:
        workers: the workers to scrape.
        exporter: host and port of the harness's exporter.
        rule_files: as the configuration file names them, relative to it.
        scrape_s: seconds between two scrapes.
    """
    interval = _interval(scrape_s)
    jobs: list[dict[str, Any]] = [
        {
            "job_name": WORKERS_JOB,
            "honor_labels": False,
            "static_configs": [
                {"targets": [one.address], "labels": dict(one.labels)} for one in workers
            ],
            "metric_relabel_configs": WORKERS_RELABELLED,
        }
    ]
    if exporter is not None:
        jobs.append({"job_name": EXPORTER_JOB, "static_configs": [{"targets": [exporter]}]})
    body = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": _interval(max(scrape_s, RULES_S)),
        },
        "rule_files": list(rule_files),
        "scrape_configs": jobs,
    }
    return json.dumps(body, indent=1) + "\n"


def _interval(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def silent_configuration() -> str:
    """A configuration without scrapes, to look at old data."""
    return json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": []}) + "\n"
