from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.exporter.config import read_config
from harness.exporter.workers import Listed, Resolved

WHOLE = """
[listen]
port = 9999

[[fleet]]
variant = "recommended"
replicas = 8
workers = 2
postgres_dsn = "postgresql://watcher:${WATCHER_PASSWORD}@postgres/recommended"
postgres_role = "recommended"
redis_url = "redis://:${WATCHER_PASSWORD}@redis/0"
discover = "proxy-recommended"

[fleet.reference_line_per_1000]
all = 48.7

[[fleet]]
variant = "memory_only"
replicas = 1
targets = ["127.0.0.1:41001", "127.0.0.1:41002"]
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "exporter.toml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_PASSWORD", "s3cret")
    config = read_config(_file(tmp_path, WHOLE))
    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 9999)
    fleets = config.fleets()
    servers = fleets["recommended"].servers
    assert servers.postgres_dsn == "postgresql://watcher:s3cret@postgres/recommended"
    assert servers.redis_url == "redis://:s3cret@redis/0"
    assert fleets["recommended"].discovery == Resolved("proxy-recommended", 9400, 2)
    assert fleets["memory_only"].discovery == Listed(["127.0.0.1:41001", "127.0.0.1:41002"])
    assert fleets["memory_only"].servers.redis_url is None
    state = config.state()
    assert state.replicas_expected == {"recommended": 8, "memory_only": 1}
    assert state.reference_line_per_1000["recommended"] == {"all": 48.7}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('variant = "memory_only"', 'variant = "recommended"'), "each variant once"),
        (("replicas = 1", "replicas = 0"), "replicas"),
        (("replicas = 1", "replicas = 1\nreplica = 2"), "there is no such field"),
        (("replicas = 1", 'replicas = 1\ndiscover = "x"'), "either discover or targets"),
        (('targets = ["127.0.0.1:41001", "127.0.0.1:41002"]', ""), "either discover or targets"),
        (('postgres_role = "recommended"', ""), "postgres_role"),
        (("port = 9999", "port = 99999"), "port"),
        (("[listen]", "[listen"), "no TOML"),
        (("${WATCHER_PASSWORD}@redis", "${NOBODY_SET_THIS}@redis"), "NOBODY_SET_THIS is not set"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], words: str
) -> None:
    monkeypatch.setenv("WATCHER_PASSWORD", "s3cret")
    assert change[0] in WHOLE
    with pytest.raises(UsageError, match=words) as caught:
        read_config(_file(tmp_path, WHOLE.replace(*change)))
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "none.toml")
