"""What the pages show of runs is there, and speaks of every release that the project knows."""

from __future__ import annotations

from pathlib import Path

from harness.targets.litellm.releases import known_releases

ROOT = Path(__file__).parents[2]


def block(page: str, name: str) -> list[str]:
    """The lines between a page's marks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    _, _, rest = text.partition(f"<!-- {name}: begin -->\n")
    inside, end, _ = rest.partition(f"<!-- {name}: end -->")
    assert end, f"{page} has no block {name}"
    return inside.splitlines()


def test_the_history_has_a_row_for_every_known_release() -> None:
    rows = [
        line.split("|")[1].strip() for line in block("docs/releases.md", "history") if "|" in line
    ]
    assert rows[2:] == [f"`{v}`" for v, release in known_releases().items() if release.history]


def test_the_twins_have_a_row_for_every_pair() -> None:
    lines = block("docs/releases.md", "twins")
    twins = dict.fromkeys(one.twin for one in known_releases().values() if one.twin)
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| `litellm_")]
    assert rows == [f"`{twin}`" for twin in twins]
