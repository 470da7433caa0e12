from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from harness.prometheus.configuration import ScrapedWorker, configuration, silent_configuration
from tests.programs import promtool

WORKERS = [
    ScrapedWorker("recommended", "0", "0", "127.0.0.1:41001"),
    ScrapedWorker("recommended", "0", "1", "127.0.0.1:41002"),
]


def test_it_is_json_and_yaml_alike() -> None:
    text = configuration(WORKERS, "127.0.0.1:9464")
    assert json.loads(text) == yaml.safe_load(text)


def test_every_worker_is_a_target_with_labels_of_its_own() -> None:
    body = json.loads(configuration(WORKERS, "127.0.0.1:9464", scrape_s=0.5))
    workers, exporter = body["scrape_configs"]
    assert workers["static_configs"] == [
        {
            "targets": [worker.address],
            "labels": {"variant": "recommended", "replica": "0", "worker": worker.worker},
        }
        for worker in WORKERS
    ]
    assert exporter["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]
    assert body["global"]["scrape_interval"] == "500ms"


def test_nothing_leaves_the_machine() -> None:
    for text in (configuration(WORKERS, "127.0.0.1:9464"), silent_configuration()):
        assert not {"remote_write", "remote_read", "alerting"} & set(json.loads(text))
    assert json.loads(silent_configuration())["scrape_configs"] == []


@pytest.mark.integration
def test_prometheus_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    for text in (configuration(WORKERS, "127.0.0.1:9464"), silent_configuration()):
        path.write_text(text)
        done = promtool("check", "config", path)
        assert done.returncode == 0, done.stdout + done.stderr
