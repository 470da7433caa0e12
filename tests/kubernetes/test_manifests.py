"""What would be applied to a cluster, held against the API's schemas, offline."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from harness.authcache.variants import load_variants
from harness.exporter.config import read_config
from harness.live.compose_sidecars import locust_settings, reference_lines
from harness.load.fleets import parse_fleets
from harness.plan.arms import reference_arm
from harness.plan.plan import make_plan
from harness.scenario.loader import Changes, load_scenario
from harness.stack.compose.project import HARNESS_IMAGE, IMAGES
from harness.targets.base import ContainerContext
from harness.targets.reference.settings import ProxySettings

ROOT = Path(__file__).parents[2] / "deploy" / "kubernetes"
BUILDS = ("base", "overlays/compare")
FLEETS = {"base": ["recommended"], "overlays/compare": ["litellm_1_84", "recommended"]}
API = "1.33"
RESOURCES = sorted(path for path in ROOT.rglob("*.yaml") if path.name != "kustomization.yaml")
Resource = dict[str, Any]


def documents(text: str) -> list[Resource]:
    return [document for document in yaml.safe_load_all(text) if document]


@cache
def built(name: str) -> list[Resource]:
    """What a kustomization comes to. Secrets are made as its documentation says."""
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            break
    else:
        pytest.skip("neither kubectl nor kustomize is on PATH: overlays are not built")
    secrets = ROOT / name / "secrets.env"
    there = secrets.exists()
    subprocess.run(["sh", str(ROOT / "secrets.sh"), str(secrets.parent)], check=True)
    try:
        done = subprocess.run(
            [*command, str(ROOT / name)], capture_output=True, text=True, check=False
        )
    finally:
        if not there:
            secrets.unlink()
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    return [one for one in resources if one["kind"] in kinds]


def pods(resources: list[Resource]) -> list[tuple[str, Resource]]:
    return [
        (one["metadata"]["name"], one["spec"]["template"]["spec"])
        for one in of_kind(resources, "Deployment", "Job")
    ]


def containers(resources: list[Resource]) -> list[Resource]:
    return [
        container
        for _, pod in pods(resources)
        for container in (*pod.get("initContainers", ()), *pod["containers"])
    ]


def committed() -> list[Resource]:
    return [document for path in RESOURCES for document in documents(path.read_text())]


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_what_the_api_takes(path: Path) -> None:
    found = documents(path.read_text())

    assert found
    for resource in found:
        kubernetes_validate.validate(resource, API, strict=True)


def test_the_schemas_refuse_what_is_wrong() -> None:
    wrong = documents((ROOT / "core/postgres.yaml").read_text())[1]
    wrong["spec"]["replica"] = 2

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, API, strict=True)


def test_every_pod_is_held_to_the_restricted_profile() -> None:
    resources = committed()

    for name, pod in pods(resources):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # LOCUST_PORT=tcp://… would be taken for an option of Locust's.
        assert pod["enableServiceLinks"] is False
    for container in containers(resources):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_what_serves_is_probed() -> None:
    for resource in of_kind(committed(), "Deployment"):
        (container,) = resource["spec"]["template"]["spec"]["containers"]
        probed = {"readinessProbe", "livenessProbe"} <= set(container)
        assert probed is ("ports" in container), container["name"]


def test_images_are_those_of_the_compose_stack() -> None:
    images = {container["image"] for container in containers(committed())}

    assert images == {HARNESS_IMAGE, IMAGES["POSTGRES_IMAGE"], IMAGES["REDIS_IMAGE"]}


def test_no_password_is_committed(tmp_path: Path) -> None:
    ignored = (ROOT.parents[1] / ".gitignore").read_text().splitlines()
    assert "/deploy/kubernetes/**/secrets.env" in ignored
    assert not of_kind(committed(), "Secret")
    for container in containers(committed()):
        for variable in container.get("env", ()):
            if "PASSWORD" in variable["name"]:
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "authcache"
    subprocess.run(["sh", str(ROOT / "secrets.sh"), str(tmp_path)], check=True)
    made = (tmp_path / "secrets.env").read_text()
    subprocess.run(["sh", str(ROOT / "secrets.sh"), str(tmp_path)], check=True)

    assert stat.S_IMODE((tmp_path / "secrets.env").stat().st_mode) == 0o600
    assert (tmp_path / "secrets.env").read_text() == made, "a second time it stays as it is"
    values = [line.partition("=")[2] for line in made.splitlines()]
    assert len(set(values)) == 3
    assert all(len(value) == 48 for value in values)


@pytest.mark.parametrize("name", BUILDS)
def test_a_kustomization_builds_to_what_the_api_takes(name: str) -> None:
    resources = built(name)

    for resource in resources:
        kubernetes_validate.validate(resource, API, strict=True)
        if resource["kind"] != "Namespace":
            assert resource["metadata"]["namespace"] == "authcache"


def references(pod: Resource) -> set[tuple[str, str]]:
    """Kinds and names of what a pod mounts and takes its environment from."""
    found = {
        ("ConfigMap", volume["configMap"]["name"])
        for volume in pod.get("volumes", ())
        if "configMap" in volume
    }
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        for source in container.get("envFrom", ()):
            kind = "Secret" if "secretRef" in source else "ConfigMap"
            found.add((kind, next(iter(source.values()))["name"]))
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                key = variable["valueFrom"]["secretKeyRef"]
                found |= {("Secret", key["name"]), ("key", key["key"])}
    return found


@pytest.mark.parametrize("name", BUILDS)
def test_what_is_referred_to_is_there(name: str) -> None:
    resources = built(name)
    there = {(one["kind"], one["metadata"]["name"]) for one in resources}
    there |= {("key", key) for one in of_kind(resources, "Secret") for key in one["data"]}

    for pod_name, pod in pods(resources):
        assert references(pod) <= there, pod_name


@pytest.mark.parametrize("name", BUILDS)
def test_a_service_finds_its_pods_and_no_others(name: str) -> None:
    resources = built(name)
    labels = [
        one["spec"]["template"]["metadata"]["labels"] for one in of_kind(resources, "Deployment")
    ]

    for service in of_kind(resources, "Service"):
        selector = service["spec"]["selector"].items()
        chosen = [have for have in labels if selector <= have.items()]
        assert len(chosen) == 1, service["metadata"]["name"]


@pytest.mark.parametrize("name", BUILDS)
def test_replicas_get_what_harness_up_would_give_them(name: str) -> None:
    variants = FLEETS[name]
    arms = [reference_arm(load_variants(None)[variant]) for variant in variants]
    plan = make_plan(load_scenario("issue-27874", Changes()), arms, stack="kubernetes")
    deployments = {one["metadata"]["name"]: one for one in of_kind(built(name), "Deployment")}

    for arm in plan.arms:
        slug = arm.name.replace("_", "-")
        spec = plan.fleet(arm)
        wanted = spec.target.container(
            ContainerContext(
                fleet=arm.name,
                workers=1,
                port=4000,
                metrics_port=9400,
                dsn=f"postgresql://{arm.name}:$(ROLE_PASSWORD)@postgres:5432/{arm.name}",
                redis_url=f"redis://:$(REDIS_PASSWORD)@redis-{slug}:6379/0",
                settings=spec.settings,
            )
        )
        (container,) = deployments[f"proxy-{slug}"]["spec"]["template"]["spec"]["containers"]
        names = [variable["name"] for variable in container["env"]]
        settings = container["env"][-1]

        assert container["args"] == list(wanted.command)
        # A variable is expanded from those before it, and from no other.
        assert names == ["ROLE_PASSWORD", "REDIS_PASSWORD", *wanted.env]
        assert _settings(settings["value"]) == _settings(wanted.env[settings["name"]])


def _settings(text: str) -> ProxySettings:
    # The version is for `build_info` alone, and changes with every release of the harness.
    return replace(ProxySettings.decode(text), version="")


@pytest.mark.parametrize("name", BUILDS)
def test_exporter_jobs_and_locust_know_every_fleet(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = built(name)
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(resources, "Service")}
    configs = {
        one["metadata"]["name"].rpartition("-")[0]: one["data"]
        for one in of_kind(resources, "ConfigMap")
    }
    path = tmp_path / "exporter.toml"
    path.write_text(configs["exporter"]["exporter.toml"])
    for variable in ("POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        monkeypatch.setenv(variable, "0ff")
    watched = read_config(path).fleet
    loaded = parse_fleets(configs["locust"]["AUTHCACHE_HOSTS"])
    prepared = [one["spec"]["template"]["spec"] for one in of_kind(resources, "Job")]

    assert [fleet.variant for fleet in watched] == FLEETS[name]
    assert [fleet.name for fleet in loaded] == FLEETS[name]
    assert sorted(pod["containers"][0]["args"][-1] for pod in prepared) == [
        f"--variant={variant}" for variant in FLEETS[name]
    ]
    for fleet, load in zip(watched, loaded, strict=True):
        assert fleet.discover is not None
        # Headless: the name lists every pod.
        assert services[fleet.discover]["clusterIP"] == "None"
        assert fleet.postgres_role == fleet.variant
        assert load.hosts == (f"http://proxy-{fleet.variant.replace('_', '-')}:4000",)
        assert load.hosts[0].split("/")[2].split(":")[0] in services


@pytest.mark.parametrize("name", BUILDS)
def test_locust_and_exporter_are_told_what_harness_up_would_tell_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [reference_arm(load_variants(None)[variant]) for variant in FLEETS[name]]
    plan = make_plan(load_scenario("issue-27874", Changes()), arms, stack="kubernetes")
    hosts = {arm.name: f"http://proxy-{arm.name.replace('_', '-')}:4000" for arm in plan.arms}
    wanted = locust_settings(plan, hosts, "http://exporter:9464")
    (generated,) = (
        one["literals"] for one in kustomization(name)["configMapGenerator"] if "literals" in one
    )
    told = dict(literal.split("=", 1) for literal in generated)
    for variable in ("POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        monkeypatch.setenv(variable, "0ff")
    exporter = read_config(ROOT / name / "exporter.toml")

    assert told["AUTHCACHE_NOTE"].startswith("Planted: ")
    for variable in ("HOSTS", "NOTE", "REFERENCE", "PRESET", "SNAPSHOTS"):
        assert told[f"AUTHCACHE_{variable}"] == wanted[f"AUTHCACHE_{variable}"]
    assert exporter.state().reference_line_per_1000 == reference_lines(plan)


def kustomization(name: str) -> Resource:
    loaded: Resource = yaml.safe_load((ROOT / name / "kustomization.yaml").read_text())
    return loaded


@pytest.mark.parametrize("name", BUILDS)
def test_a_kustomization_keeps_the_note_whole(name: str) -> None:
    (config,) = [
        one["data"]
        for one in of_kind(built(name), "ConfigMap")
        if one["metadata"]["name"].startswith("locust-")
    ]
    (literal,) = [
        literal
        for generator in kustomization(name)["configMapGenerator"]
        for literal in generator.get("literals", ())
        if literal.startswith("AUTHCACHE_NOTE=")
    ]

    assert config["AUTHCACHE_NOTE"] == literal.partition("=")[2]


def test_nothing_is_open_to_the_outside() -> None:
    for service in of_kind(committed(), "Service"):
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
    assert not of_kind(committed(), "Ingress")
    assert os.access(ROOT / "secrets.sh", os.X_OK)
