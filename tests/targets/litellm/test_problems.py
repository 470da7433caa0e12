"""What uv says, word for word, and what becomes of it."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError, SetupError, UnknownNameError
from harness.targets.litellm.problems import (
    check_python,
    explain_lacking,
    explain_uv,
    lacking,
)
from harness.targets.litellm.releases import known_releases, release_of

NO_VERSION = """\
error: No solution found when resolving dependencies for split (markers: python_full_version >= '3.15')
  cause: Because there is no version of litellm-proxy-extras==0.4.113 and litellm[proxy]>=1.109.1 depends on litellm-proxy-extras==0.4.113, we can conclude that litellm[proxy]>=1.109.1 cannot be used.
         And because you require litellm[proxy]==1.109.1, we can conclude that your requirements are unsatisfiable.
"""  # noqa: E501 - as uv writes it
NO_PACKAGE = """\
error: No solution found when resolving dependencies
  cause: Because litellm-proxy was not found in the package registry and litellm[proxy]>=1.110.2 depends on litellm-proxy==1.110.2, we can conclude that litellm[proxy]>=1.110.2 cannot be used.
         And because you require litellm[proxy]==1.110.2, we can conclude that your requirements are unsatisfiable.
"""  # noqa: E501 - as uv writes it
TOO_NEW = """\
error: No solution found when resolving dependencies
  cause: Because only certifi<=2026.10.18 is available and litellm==1.106.10 depends on certifi>=2026.10.19, we can conclude that litellm==1.106.10 cannot be used.
         And because you require litellm[proxy]==1.106.10, we can conclude that your requirements are unsatisfiable.
"""  # noqa: E501 - as uv writes it
NO_RELEASE = """\
error: No solution found when resolving dependencies
  cause: Because there is no version of litellm[proxy]==1.94.7 and you require litellm[proxy]==1.94.7, we can conclude that your requirements are unsatisfiable.
"""  # noqa: E501 - as uv writes it
NO_WHEEL = """\
error: No solution found when resolving dependencies
  cause: Because uvloop{sys_platform != 'win32'}==0.21.0 has no usable wheels and you require uvloop{sys_platform != 'win32'}==0.21.0, we can conclude that your requirements are unsatisfiable.

hint: Wheels are required for `uvloop` because building from source is disabled for all packages (i.e., with `--no-build`)
"""  # noqa: E501 - as uv writes it
WRONG_PYTHON = """\
error: No solution found when resolving dependencies
  cause: Because the requested Python version (>=3.9) does not satisfy Python>=3.10,<3.15 and you require litellm[proxy]==1.93.0, we can conclude that your requirements are unsatisfiable.
"""  # noqa: E501 - as uv writes it
NO_NETWORK = """\
error: Request failed after 3 retries in 4.8s
  cause: Failed to fetch: https://index.invalid/simple/litellm/
  cause: error sending request for url (https://index.invalid/simple/litellm/)
  cause: client error (Connect)
  cause: failed to lookup address information: Name or service not known
"""
OFFLINE = """\
error: No solution found when resolving dependencies
  cause: Because aiohttp was not found in the cache and you require aiohttp==3.13.4, we can conclude that your requirements are unsatisfiable.

hint: Packages were unavailable because the network was disabled. When the network is disabled, registry packages may only be read from the cache.
"""  # noqa: E501 - as uv writes it
HASH = """\
error: Failed to download `asyncpg==0.32.0`
  cause: Hash mismatch for `asyncpg==0.32.0`

         Expected:
           sha256:0000000000000000000000000000000000000000000000000000000000000007
"""


@pytest.mark.parametrize(
    ("version", "written", "parts"),
    [
        (
            "1.109.1",
            NO_VERSION,
            ["[litellm==1.109.1]", "[litellm-proxy-extras==0.4.113]", "--relax litellm-proxy-"],
        ),
        (
            "1.106.10",
            TOO_NEW,
            [
                "[certifi>=2026.10.19]",
                "try again with --relax certifi (make: RELAX=certifi).",
                "says: Because only certifi<=2026.10.18 is available and litellm==1.106.10 depends",
                "And because you require litellm[proxy]==1.106.10, we can",
            ],
        ),
        (
            "1.110.1",
            NO_PACKAGE,
            ["[litellm-proxy==1.110.2]", "run without [litellm-proxy]", "--relax litellm-proxy "],
        ),
        ("1.84.10", NO_WHEEL, ["[uvloop==0.21.0]", "no wheel for this platform [", "Python ["]),
        ("1.93.0", WRONG_PYTHON, ["runs on Python [>=3.10,<3.15]", "this is Python [3."]),
        ("1.84.10", NO_NETWORK, ["[failed to lookup address", "Check the network and the index"]),
        ("1.84.10", OFFLINE, ["aiohttp was not found in the cache", "Check the network"]),
        ("1.84.10", HASH, ["[asyncpg==0.32.0]", "not the file that was pinned"]),
        ("1.84.10", "error: No space left on device", ["[No space left on device]", "try again"]),
        ("1.84.10", "", ["[no message]"]),
    ],
)
def test_a_failure_says_what_is_missing_and_what_to_do(
    version: str, written: str, parts: list[str]
) -> None:
    error = explain_uv(release_of(version), written)

    assert isinstance(error, SetupError)
    for part in parts:
        assert part in str(error)
    # Whatever the harness makes of it, no line that may name a package is lost.
    said = " ".join(written.replace("cause: ", "").replace("hint: ", "").split())
    assert said.find("Because") == -1 or said[said.index("Because") :] in str(error)


def test_the_project_records_what_its_own_pins_may_lack() -> None:
    (one,) = [found for found in [lacking(NO_VERSION)] if found is not None]
    said = str(explain_lacking(release_of("1.109.1"), [one], recording=True))

    assert "releases.toml: under" in said
    assert "--relax" not in said


def test_a_release_that_the_index_has_not_is_an_unknown_name() -> None:
    error: HarnessError = explain_uv(release_of("1.94.7"), NO_RELEASE)

    assert isinstance(error, UnknownNameError)
    assert "[1.94.7]. Did you mean [1.94.0]?" in str(error)


@pytest.mark.parametrize("running", ["3.9.18", "3.14.0", "3.14.0rc2", "3.15.1"])
def test_a_python_that_is_too_old_or_too_new_is_named_with_the_range(running: str) -> None:
    with pytest.raises(SetupError) as refused:
        check_python(known_releases()["1.84.10"], running)

    assert "[litellm==1.84.10] runs on Python [>=3.10,<3.14]" in str(refused.value)
    assert f"this is Python [{running}]" in str(refused.value)


@pytest.mark.parametrize("running", ["3.10.0", "3.11.7", "3.13.9", "3.13.0rc1"])
def test_a_python_in_the_range_is_taken(running: str) -> None:
    check_python(known_releases()["1.84.10"], running)


def test_where_no_range_is_recorded_uv_will_say() -> None:
    check_python(release_of("1.86.0"), "3.99.0")
