from __future__ import annotations

from importlib import metadata

import pytest
from click.testing import CliRunner

from harness.targets.litellm.inside import serve
from harness.targets.litellm.inside.settings import Settings
from harness.targets.settings import SETTINGS_VARIABLE

SETTINGS = Settings(
    variant="litellm==1.84.0rc1", version="1.84.0rc1", dsn="postgresql://nowhere/x", ttl_s=5.0
)


@pytest.mark.parametrize("installed", ["1.84.0rc1", "1.84.0-rc.1"])
def test_a_release_is_shown_under_its_own_name(installed: str) -> None:
    serve.check_release("1.84.0rc1", installed)


@pytest.mark.parametrize("installed", ["1.84.0", "1.107.2"])
def test_no_release_is_shown_under_the_name_of_another(
    installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an image holds, it is refused before any of it is imported or anything listens."""
    monkeypatch.setenv(SETTINGS_VARIABLE, SETTINGS.encode())
    monkeypatch.setattr(metadata, "version", lambda _: installed)
    monkeypatch.setattr(serve, "listen", lambda *_: pytest.fail("it listens"))
    ended = CliRunner().invoke(serve.main, [])
    assert ended.exit_code == serve.EXIT_USAGE
    assert f"has LiteLLM [{installed}], but the fleet is of [1.84.0rc1]" in ended.output


def test_an_environment_without_litellm_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv(SETTINGS_VARIABLE, SETTINGS.encode())
    monkeypatch.setattr(metadata, "version", missing)
    ended = CliRunner().invoke(serve.main, [])
    assert ended.exit_code == serve.EXIT_USAGE
    assert "litellm" in ended.output
