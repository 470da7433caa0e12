from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.experiment.companions import chosen_prometheus
from harness.prometheus import binaries
from harness.prometheus.binaries import PROMETHEUS, PROMTOOL, fetch, find


def _program(folder: Path, name: str, says: str, code: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{says}\nexit {code}\n")
    path.chmod(0o755)
    return path


def _prometheus(folder: Path, version: str, name: str = PROMETHEUS) -> Path:
    return _program(folder, name, f"echo '{name}, version {version} (branch: x)' >&2")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Prometheus named, none on PATH, none fetched. Gives the folder that is on PATH."""
    for variable in binaries.VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    path = tmp_path / "path"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(binaries, "cache_folder", lambda: tmp_path / "cache" / "prometheus")
    return path


def test_there_may_be_none() -> None:
    assert find(PROMETHEUS) is None
    assert find(PROMTOOL) is None


def test_the_order_is_variable_then_path_then_what_was_fetched(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prometheus(tmp_path / "cache/prometheus/usr/bin", "3.0.0")
    found = find(PROMETHEUS)
    assert found is not None
    assert (found.version, found.source) == ("3.0.0", "Debian's package, unpacked")
    assert find(PROMETHEUS, fetched=False) is None
    _prometheus(nowhere, "2.0.0")
    found = find(PROMETHEUS)
    assert found is not None
    assert (found.version, found.source) == ("2.0.0", "PATH")
    named = _prometheus(tmp_path / "named", "1.0.0")
    monkeypatch.setenv("AUTHCACHE_PROMETHEUS", str(named))
    found = find(PROMETHEUS)
    assert found is not None
    assert (found.version, found.path) == ("1.0.0", named)


def test_a_variable_that_names_nothing_that_runs_is_an_error(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prometheus(nowhere, "2.0.0")
    monkeypatch.setenv("AUTHCACHE_PROMETHEUS", str(nowhere / "gone"))
    with pytest.raises(SetupError, match=r"AUTHCACHE_PROMETHEUS .*gone"):
        find(PROMETHEUS)


def test_another_program_of_that_name_is_passed_over(nowhere: Path) -> None:
    _program(nowhere, PROMETHEUS, "echo 'Prometheus the game, version 1.0'")
    assert find(PROMETHEUS) is None
    _program(nowhere, PROMETHEUS, "echo 'prometheus, version 1.0'", code=1)
    assert find(PROMETHEUS) is None


def test_web_files_are_named_where_an_unpacked_package_has_them(nowhere: Path) -> None:
    del nowhere
    folder = binaries.cache_folder()
    _prometheus(folder / "usr/bin", "2.0.0")
    found = find(PROMETHEUS)
    assert found is not None
    assert found.assets is None
    (folder / "usr/share/prometheus/web").mkdir(parents=True)
    assert found.assets == folder / "usr/share/prometheus/web"
    system = binaries.Binary(Path("/usr/bin/prometheus"), "PATH", "2")
    assert system.assets is None


def test_off_debian_nothing_can_be_fetched() -> None:
    with pytest.raises(SetupError, match=r"Debian and Ubuntu only.*AUTHCACHE_PROMETHEUS"):
        fetch()


def test_a_package_is_downloaded_and_unpacked_and_not_again(nowhere: Path) -> None:
    folder = binaries.cache_folder()
    _program(nowhere, "apt-get", "echo x >> $0.calls; echo content > prometheus_2.42_amd64.deb")
    _program(
        nowhere,
        "dpkg",
        "/bin/mkdir -p $3/usr/bin; printf '#!/bin/sh\\necho prometheus, version 2.42\\n'"
        " > $3/usr/bin/prometheus; /bin/chmod 755 $3/usr/bin/prometheus",
    )
    for _ in range(2):
        assert fetch().version == "2.42"
    assert (nowhere / "apt-get.calls").read_text() == "x\n"
    assert [path.name for path in folder.parent.iterdir()] == ["prometheus"]


def test_a_package_that_cannot_be_downloaded_leaves_nothing(nowhere: Path) -> None:
    _program(nowhere, "apt-get", "echo 'E: Unable to locate package' >&2", code=100)
    _program(nowhere, "dpkg", "")
    with pytest.raises(SetupError, match="Unable to locate package"):
        fetch()
    assert list(binaries.cache_folder().parent.iterdir()) == []


def test_auto_takes_what_is_on_path_and_not_what_was_fetched_for_tests(
    nowhere: Path, tmp_path: Path
) -> None:
    assert chosen_prometheus("auto", "embedded") is None
    with pytest.raises(SetupError, match="--fetch"):
        chosen_prometheus("on", "embedded")
    _prometheus(tmp_path / "cache/prometheus/usr/bin", "3.0.0")
    assert chosen_prometheus("auto", "embedded") is None
    assert chosen_prometheus("on", "embedded") is not None
    _prometheus(nowhere, "2.0.0")
    assert chosen_prometheus("auto", "embedded") is not None
    assert chosen_prometheus("off", "embedded") is None
