"""What the pages show of runs is there, and speaks of every release that the project knows."""

from __future__ import annotations

import math
import re
from pathlib import Path

from harness.analysis.expectations import applicable, bounds
from harness.analysis.intervals import never_needs, per_bound
from harness.scenario.loader import load_scenario
from harness.scenario.schema import FaultExpectation
from harness.targets.litellm.releases import known_releases
from tests.golden.describing import variables

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


def test_the_page_says_how_many_requests_show_that_something_never_happens() -> None:
    scenario = load_scenario("issue-27874")
    wanted = applicable(scenario.expect, scenario.variants, premises=True)
    limits = bounds([e for e in wanted if not isinstance(e, FaultExpectation)])
    share = scenario.limits.bad_share_max
    needed = math.ceil(never_needs(per_bound(limits, scenario.looks), share))
    page = " ".join((ROOT / "docs/method.md").read_text(encoding="utf-8").split())
    told = re.search(r"the (\d+) limits of the default scenario .*? takes (\d+) requests", page)
    assert told, "docs/method.md no longer says it"
    assert told.groups() == (str(limits), str(needed))
    assert f"more than {share * 100:g} % (`limits.bad_share_max`)" in page


def test_the_page_names_only_variables_that_the_code_reads() -> None:
    page = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("\n| variable | meaning |\n")
    table = rest.partition("\n\n")[0]
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", table))
    assert "AUTHCACHE_PG_BINDIR" in named
    assert named <= set(variables().split())
