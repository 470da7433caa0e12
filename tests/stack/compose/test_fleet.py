"""What is written down of a fleet for Compose, the exporter and Prometheus."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache.variants import load_variants
from harness.errors import SetupError
from harness.exporter.config import read_config
from harness.prometheus import configuration
from harness.stack.base import FleetSpec
from harness.stack.compose.fleet import (
    FleetPlace,
    compose_file,
    exporter_file,
    identity,
    resumed,
    scrape_file,
    slug_of,
)
from harness.stack.compose.project import compose_folder
from harness.targets.reference.settings import ProxySettings
from harness.targets.reference.target import ReferenceTarget
from harness.targets.settings import MASTER_KEY_VARIABLE, SETTINGS_VARIABLE, RunSettings
from tests.stack.fakes import FakeTarget


def place(variant: str = "recommended", **changes: Any) -> FleetPlace:
    target = ReferenceTarget(load_variants(None)[variant])
    spec = FleetSpec(variant, target, 8, 2, RunSettings(ttl_s=2.0))
    whole = FleetPlace(
        spec=spec,
        slug=slug_of(variant, []),
        role="authcache_1",
        role_password="geheim-r0le",
        redis_password="geheim-r3dis",
        proxy_port=4000,
        stats_port=8404,
        redis_port=6001,
    )
    return replace(whole, **changes)


def services(fleet: FleetPlace) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(compose_file(fleet))["services"]
    return loaded


def test_a_fleet_has_a_redis_replicas_and_a_load_balancer_of_its_own() -> None:
    fleet = services(place())

    assert list(fleet) == ["redis-recommended", "proxy-recommended", "haproxy-recommended"]
    assert fleet["proxy-recommended"]["scale"] == 8
    assert fleet["haproxy-recommended"]["environment"]["REPLICAS_HOST"] == "proxy-recommended"
    for service in fleet.values():
        template = Path(service["extends"]["file"])
        assert template.parent == compose_folder()
        assert f"\n  {service['extends']['service']}:\n" in template.read_text()


def test_replicas_wait_for_their_servers_and_the_balancer_for_replicas() -> None:
    fleet = services(place())

    assert fleet["proxy-recommended"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "redis-recommended": {"condition": "service_healthy"},
    }
    assert fleet["haproxy-recommended"]["depends_on"] == {
        "proxy-recommended": {"condition": "service_started"}
    }


def test_a_variant_without_redis_has_none() -> None:
    fleet = place("memory_only")

    assert fleet.redis is None
    assert list(services(fleet)) == ["proxy-memory-only", "haproxy-memory-only"]
    assert "redis_url" not in exporter_file([fleet], "admin:x", {})


def test_everything_that_listens_outside_listens_on_loopback() -> None:
    published = [port for one in services(place()).values() for port in one.get("ports", ())]

    assert published == ["127.0.0.1:6001:6379", "127.0.0.1:4000:4000", "127.0.0.1:8404:8404"]


def test_no_password_is_in_the_file_and_every_one_comes_back_by_its_variable() -> None:
    fleet = place("litellm_1_84")
    text = compose_file(fleet)

    assert "geheim" not in text
    assert fleet.spec.master_key not in text
    environment = services(fleet)["proxy-litellm-1-84"]["environment"]
    assert environment[MASTER_KEY_VARIABLE] == "${MASTER_KEY_LITELLM_1_84}"
    expanded = environment[SETTINGS_VARIABLE]
    for variable, secret in fleet.secrets.items():
        assert variable.endswith("_LITELLM_1_84")
        assert f"${{{variable}}}" in expanded or variable.startswith("MASTER_KEY")
        expanded = expanded.replace(f"${{{variable}}}", secret)
    settings = ProxySettings.decode(expanded)
    assert settings.dsn == "postgresql://authcache_1:geheim-r0le@postgres:5432/authcache_1"
    assert settings.redis_url == "redis://:geheim-r3dis@redis-litellm-1-84:6379/0"


def test_a_dollar_in_a_setting_is_no_variable() -> None:
    target = FakeTarget()
    target.kind = "reference"
    spec = replace(place().spec, target=target)
    fleet = place(spec=spec, role="a$b")

    env = services(fleet)["proxy-recommended"]["environment"]

    assert "a$$b" in env["FAKE"]
    assert "${ROLE_PASSWORD_RECOMMENDED}" in env["FAKE"]


def test_a_target_without_a_template_is_refused() -> None:
    fleet = place(spec=replace(place().spec, target=FakeTarget()))

    with pytest.raises(SetupError, match=r"\[fake\].*STACK=embedded"):
        compose_file(fleet)


def test_the_exporter_takes_the_file_and_finds_every_worker(tmp_path: Path) -> None:
    path = tmp_path / "exporter.toml"
    lines = {"recommended": {"team": 48.5, "all": 48.75}}
    path.write_text(exporter_file([place(), place("memory_only")], "admin:s3cret", lines))

    first, second = read_config(path).fleet

    assert (first.variant, first.replicas, first.workers) == ("recommended", 8, 2)
    assert (first.discover, first.metrics_port) == ("proxy-recommended", 9400)
    assert first.postgres_dsn == "postgresql://admin:s3cret@postgres:5432/authcache_1"
    assert first.postgres_role == "authcache_1"
    assert first.redis_url == "redis://:geheim-r3dis@redis-recommended:6379/0"
    assert second.redis_url is None
    assert first.reference_line_per_1000 == lines["recommended"]
    assert second.reference_line_per_1000 == {}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_password_comes_back_from_an_address(password: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "exporter.toml")
        one = place(redis_password=password)
        path.write_text(exporter_file([one], identity("admin", password), {}))
        (fleet,) = read_config(path).fleet

    for address in (fleet.postgres_dsn, fleet.redis_url, one.dsn(password)):
        assert address is not None
        parts = urlsplit(address)
        assert parts.hostname in {"postgres", "redis-recommended"}
        assert unquote(parts.password or "") == password


def test_prometheus_finds_every_worker_of_every_replica() -> None:
    replicas, balancer = json.loads(scrape_file(place()))["scrape_configs"]

    found = [(one["names"], one["type"], one["port"]) for one in replicas["dns_sd_configs"]]
    assert found == [(["proxy-recommended"], "A", 9400), (["proxy-recommended"], "A", 9401)]
    constant = {
        rule["target_label"]: rule["replacement"]
        for rule in replicas["relabel_configs"]
        if "source_labels" not in rule
    }
    assert constant == {"job": configuration.WORKERS_JOB, "variant": "recommended"}
    assert balancer["static_configs"] == [{"targets": ["haproxy-recommended:8404"]}]


def test_jobs_are_called_as_dashboards_and_rules_call_them() -> None:
    text = (compose_folder() / "prometheus" / "prometheus.yml").read_text()
    assert f"job_name: {configuration.EXPORTER_JOB}\n" in text


def test_a_fleet_that_another_process_started() -> None:
    spec = place().spec
    fleet = place(spec=replace(spec, replicas=3))
    kept = json.loads(json.dumps(fleet.kept()))

    # The process that attaches has made a master key of its own, which no replica knows.
    attached = resumed(replace(spec, master_key="sk-another"), kept, fleet.secrets)
    assert attached == fleet
    assert attached.spec.master_key == fleet.spec.master_key


@given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=6, unique=True))
def test_slugs_are_host_names_and_differ(names: list[str]) -> None:
    slugs: list[str] = []
    for name in names:
        slugs.append(slug_of(name, slugs))

    assert len(set(slugs)) == len(names)
    for slug in slugs:
        assert slug.replace("-", "").isalnum()
        assert slug.isascii()
        assert slug == slug.lower()
        assert not slug.startswith("-")
        assert not slug.endswith("-")
        assert len(f"haproxy-{slug}") < 64
