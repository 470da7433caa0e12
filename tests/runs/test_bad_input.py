"""Bad input: one clear message with what to do, exit code 2, nothing started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from tests.runs.support import TINY, started, tiny_scenario


def invoke(*arguments: str) -> Result:
    """A command in this process; nothing is started before its words are checked."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


CRASHING_CODEC = """
class Crash:
    name = "crash"
    summary = "raises"
    def encode(self, kind, value):
        raise RuntimeError("out of coffee")
    def decode(self, kind, payload, model):
        raise RuntimeError("out of coffee")
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--variants", "recomended"), ["[recomended]", "Did you mean [recommended]?"]),
        (("--scenario", "issue-27847"), ["[issue-27847]", "Did you mean [issue-27874]?"]),
        (("--replicas", "0"), ["0", "1<=x<=64"]),
        (("--variants", "recommended,recommended"), ["named twice"]),
        (("--variants", ","), ["variants", "at least 1"]),
        (("--override", "recommended:codecs=x"), ["[codecs]", "Did you mean [codec]?"]),
        (("--override", "nonsense"), ["VARIANT:SWITCH=VALUE"]),
        (("--override", "recommended:redis=maybe"), ["redis", "'on' or 'off'"]),
        (("--override", "recommended:codec=no.such:Thing"), ["[no.such:Thing]", "PYTHONPATH"]),
        (("--override", "recommended:codec=msgspecs"), ["[msgspecs]", "[msgspec]"]),
        (("--scenario", "no-membership", "--premise", "on"), ["plants nothing"]),
        (("--time-scale", "0.01"), ["requests a TTL", "are needed"]),
        (("--no-such-option",), ["--no-such-option"]),
        (("--variants-file", "missing.toml"), ["[missing.toml]", "cannot be read"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_word(tmp_path: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    ended = invoke("loadtest", "--runs-dir", str(tmp_path / "runs"), *arguments)
    assert ended.exit_code == 2, ended.output
    for word in words:
        assert word in ended.output
    assert "Traceback" not in ended.output
    assert not (tmp_path / "runs").exists(), "a run directory for a run that never was"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ttl_s = 1.0", 'ttl_s = "soon"'), ["ttl_s", "[soon]"]),
        (("ttl_s = 1.0", "ttl_s = 1.0\ntypo = 1"), ["typo", "no such field"]),
        (("[load]", "[load"), ["not TOML"]),
        (("team = 1, user = 1", "team = 1, member = 1"), ["without keys", "member"]),
        (("rate_per_s = 80", "rate_per_s = 10"), ["requests a TTL", "are needed"]),
        (('is = "healthy"', 'is = "fine"'), ["[fine]", "'healthy'"]),
    ],
    ids=["type", "unknown field", "syntax", "scope without keys", "too thin", "cell"],
)
def test_a_wrong_scenario_file(tmp_path: Path, change: tuple[str, str], words: list[str]) -> None:
    path = tmp_path / "mine.toml"
    text = TINY.replace("WINDOW", "3")
    assert change[0] in text
    path.write_text(text.replace(*change))
    ended = invoke("loadtest", "--scenario", str(path))
    assert ended.exit_code == 2, ended.output
    for word in (*words, "mine.toml" if "requests a TTL" not in words[0] else "tiny"):
        assert word in ended.output
    assert "Traceback" not in ended.output


def test_a_keys_file_that_cannot_be_written(tmp_path: Path) -> None:
    place = str(tmp_path / "nowhere" / "keys.json")
    ended = invoke("prepare", "--scenario", "smoke", "--keys-file", place)
    assert ended.exit_code == 2, ended.output
    assert f"[{place}] cannot be written: No such file or directory." in ended.output


def test_a_folder_of_runs_that_is_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    ended = invoke("loadtest", "--scenario", "smoke", "--runs-dir", str(tmp_path / "runs"))
    assert ended.exit_code == 2, ended.output
    assert f"[{tmp_path / 'runs'}] cannot be created: a file or a broken link" in ended.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("loadtest", "--redis-url", "bogus"), ["REDIS_URL", "redis://"]),
        (("fleet", "--redis-url", "bogus"), ["REDIS_URL", "redis://"]),
        (
            ("loadtest", "--stack", "compose", "--postgres-dsn", "postgresql://x/y"),
            ["POSTGRES_DSN is set", "STACK=embedded"],
        ),
    ],
    ids=["address, loadtest", "address, fleet", "servers in containers"],
)
def test_a_server_that_cannot_be_used(
    tmp_path: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    ended = invoke(*arguments, "--scenario", "smoke", "--runs-dir", str(tmp_path / "runs"))
    assert ended.exit_code == 2, ended.output
    for word in words:
        assert word in ended.output
    assert list((tmp_path / "runs").iterdir()) == [], "a run directory for a run that never was"


def test_a_codec_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mycodec.py").write_text(CRASHING_CODEC)
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = invoke("loadtest", "--override", "recommended:codec=mycodec:Crash")
    assert ended.exit_code == 2, ended.output
    assert "[mycodec:Crash]" in ended.output
    assert "out of coffee" in ended.output
    assert "Traceback" not in ended.output


@pytest.mark.integration
@pytest.mark.parametrize(
    "variable",
    ["POSTGRES_DSN", "REDIS_URL"],
)
def test_a_server_that_refuses(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    scheme = "postgresql://me:geheim@" if variable == "POSTGRES_DSN" else "redis://:geheim@"
    value = f"{scheme}127.0.0.1:{port}/0"
    arguments = ("loadtest", "--scenario", str(tiny_scenario(tmp_path)))
    with started(tmp_path, *arguments, **{variable: value}) as running:
        assert running.end() == 2, running.output()
        assert str(port) in running.output()
        assert "geheim" not in running.output()
        assert "Traceback" not in running.output()
        assert running.leftovers() == []


@pytest.mark.integration
def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        arguments = ("fleet", "--scenario", str(tiny_scenario(tmp_path)), "--port", port)
        with started(tmp_path, *arguments) as running:
            assert running.end() == 2, running.output()
            assert port in running.output()
            assert "Traceback" not in running.output()
            assert running.leftovers() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ('what = "redis-hang"\nfor_s = 9.0', ["[32] users", "can hold", "Raise load.users"]),
        ('what = "redis-hangs"\nfor_s = 1.0', ["[redis-hangs]", "Did you mean [redis-hang]?"]),
        ('what = "postgres-lag"\nfor_s = 1.0', ["[postgres-lag]", "read replica"]),
    ],
)
def test_a_fault_that_cannot_be(tmp_path: Path, fault: str, words: list[str]) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(TINY.replace("WINDOW", "3") + f"\n[[fault]]\n{fault}\n", encoding="utf-8")
    ended = invoke("loadtest", "--scenario", str(path), "--runs-dir", str(tmp_path / "runs"))
    assert ended.exit_code == 2, ended.output
    for word in words:
        assert word in ended.output
    assert not (tmp_path / "runs").exists()
