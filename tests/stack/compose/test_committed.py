"""The committed files: what every container of the stack is held to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import SetupError
from harness.stack.compose.context import write_context
from harness.stack.compose.project import DASHBOARDS, IMAGES, compose_folder

FOLDER = compose_folder()
FILES = sorted(path for path in FOLDER.glob("*.yaml"))
ROOT = FOLDER.parent
LEFT_OPEN = {
    # The official image of a release writes at its start; nothing here could show which files.
    "litellm.yaml:replica": {"read_only", "user"},
    # Their image is this repository's own, whose Dockerfile sets the user.
    "core.yaml:exporter": {"user"},
    "reference.yaml:replica": {"user"},
    "locust.yaml:locust": {"user"},
    # It listens on nothing, and ends by itself when its master is gone.
    "locust.yaml:locust-worker": {"user", "healthcheck"},
    # Templates of the templates above.
    "hardened.yaml:hardened": {"user", "image", "healthcheck", "memory"},
    "fleet.yaml:replica": {"user", "image", "healthcheck"},
}


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def merged(under: Any, over: Any) -> Any:
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merged(under.get(key), value) for key, value in over.items()}
    return over


def service(file: str, name: str) -> dict[str, Any]:
    """A service with what it extends taken in, as Compose does."""
    own: dict[str, Any] = read(FOLDER / file)["services"][name]
    if "extends" not in own:
        return own
    base = service(own["extends"]["file"], own["extends"]["service"])
    whole: dict[str, Any] = merged(base, own)
    return whole


SERVICES = [(path.name, name) for path in FILES for name in read(path)["services"]]


@pytest.mark.parametrize(("file", "name"), SERVICES, ids=str)
def test_a_service_is_held_to_all_of_it(file: str, name: str) -> None:
    whole = service(file, name)
    missing = {
        word
        for word, there in {
            "user": str(whole.get("user", "0")).partition(":")[0] not in {"0", "root"},
            "read_only": whole.get("read_only") is True,
            "image": "image" in whole,
            "healthcheck": "test" in whole.get("healthcheck", {}),
            "memory": "memory" in whole["deploy"]["resources"]["limits"],
        }.items()
        if not there
    }

    assert missing == LEFT_OPEN.get(f"{file}:{name}", set())
    assert whole["cap_drop"] == ["ALL"]
    assert whole["security_opt"] == ["no-new-privileges:true"]
    assert whole["restart"] == "no"
    assert whole["deploy"]["resources"]["limits"]["pids"] <= 512
    assert not whole.get("privileged")
    for port in whole.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    for volume in whole.get("volumes", ()):
        assert "docker.sock" not in volume


def test_every_image_is_a_parameter_with_a_pinned_default() -> None:
    text = "".join(path.read_text() for path in (*FILES, FOLDER / "Dockerfile"))
    images = re.findall(r"image: (.*)", text)
    defaults = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", text))
    defaults["PYTHON_IMAGE"] = re.findall(r"ARG PYTHON_IMAGE=(\S+)", text)[0]

    assert all(re.fullmatch(r"\$\{\w+_IMAGE:-[^}]+:[^}]+\}", image) for image in images)
    assert {name: defaults[name] for name in IMAGES} == IMAGES
    assert not any(image.endswith(":latest") for image in defaults.values())


@pytest.mark.parametrize(("file", "name"), SERVICES, ids=str)
def test_how_often_docker_checks_is_the_harnesses_to_say(file: str, name: str) -> None:
    check = service(file, name).get("healthcheck")
    assert check is None or re.fullmatch(r"\$\{HEALTH_INTERVAL:-\d+s\}", check["interval"])


def test_no_file_holds_a_password_or_has_a_default_for_one() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and "generated" not in path.parts and path.suffix != ".sh":
            for value in re.findall(r"PASSWORD:? ?[:=] *(\S+)", path.read_text()):
                assert re.match(r"\$\{\w+:\?", value), f"{path.name}: {value}"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("Dockerfile")), ids=str)
def test_no_dockerfile_needs_a_registry_for_its_syntax(path: Path) -> None:
    assert not re.search(r"^#\s*syntax\s*=", path.read_text(), re.MULTILINE)


def test_the_image_gets_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    context = tmp_path / "image"
    write_context(context)
    dockerfile = (context / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    sources = {word for line in copied for word in line.split()}
    files = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}

    assert all((context / name).exists() for name in sources)
    assert {name.partition("/")[0] for name in files - {"Dockerfile"}} == {"harness", "probe.py"}
    assert {name for name in files if name.startswith("harness/_shipped/")} == {
        "harness/_shipped/locustfile.py",
        "harness/_shipped/requirements/runtime.txt",
    }
    assert "harness/cli/__init__.py" in files
    assert not [name for name in files if name.endswith(".pyc")]
    assert "USER 10001:10001" in dockerfile


def test_a_build_context_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="does not exist yet"):
        write_context(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_generated_files_are_never_committed() -> None:
    assert "/compose/generated/" in (ROOT / ".gitignore").read_text().splitlines()


def test_locust_is_given_every_setting_of_the_web_ui() -> None:
    """What `harness ui` tells it by environment, Compose must hand on by name."""
    sources = [ROOT / "harness/live" / name for name in ("web.py", "web_form.py")]
    text = "".join(source.read_text() for source in sources)
    # The harness does not run beside a stack that stays up, so no change can be made there.
    here_alone = {"AUTHCACHE_METRICS", "AUTHCACHE_CHANGES"}
    told = set(re.findall(r'"(AUTHCACHE_\w+)"', text)) - here_alone

    assert "AUTHCACHE_NOTE" in told
    for name in ("locust", "locust-worker"):
        assert told <= set(service("locust.yaml", name)["environment"])


def test_grafana_provisions_the_generated_dashboards() -> None:
    provider = read(FOLDER / "grafana/provisioning/dashboards/authcache.yaml")["providers"][0]
    mounts = service("grafana.yaml", "grafana")["volumes"]

    generated = f"${{GENERATED:?run harness up}}/{DASHBOARDS}"
    assert f"{generated}:{provider['options']['path']}:ro" in mounts


def test_prometheus_reads_the_committed_rules_and_the_generated_scrapes() -> None:
    config = read(FOLDER / "prometheus/prometheus.yml")
    mounts = {
        mount.split(":")[-2]: mount.rsplit(":", 2)[0]
        for mount in service("observability.yaml", "prometheus")["volumes"]
        if mount.endswith(":ro")
    }

    assert mounts["/etc/prometheus/scrape"].endswith("/scrape")
    assert config["scrape_config_files"] == ["/etc/prometheus/scrape/*.json"]
    assert config["global"]["scrape_interval"] in {"1s", "2s"}
    for rules in config["rule_files"]:
        assert (
            ROOT / "dashboards" / Path(rules).relative_to("/etc/prometheus/dashboards")
        ).exists()
