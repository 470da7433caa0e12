"""Scenario files that went wrong: one clear error, or a run that can be planned."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.authcache.variants import Variant
from harness.cli.commands.options import chosen_variants
from harness.errors import UsageError
from harness.plan.arms import reference_arm
from harness.plan.plan import facts, make_plan
from harness.scenario.loader import Changes, load_scenario, scenario_names

BUILTIN = files("harness.scenario").joinpath("builtin")
TEXTS = {name: BUILTIN.joinpath(f"{name}.toml").read_text("utf-8") for name in scenario_names()}

Place = tuple[str | int, ...]

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(
        [0, -1, 1, 10**9, 2**63, 10**400, 1e-300, 5e-324, 1e300, math.inf, -math.inf, math.nan]
    ),
)
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        [
            *("", " ", "x" * 10_000, "../../etc", "\x00", "\u0661", "🦙", "recommended"),
            *("litellm==1.94.0", "litellm==", "litellm==1.107.0", "litellm>=x", "litellm==../x"),
            "litellm>=1.89,<",
        ]
    ),
)
scalars = st.one_of(numbers, texts, st.booleans())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "kind", ""]), inner)
    ),
    max_leaves=5,
)


def places(node: Any, here: Place = ()) -> list[Place]:
    """Every place in a document, tables and their fields alike."""
    found = [here]
    steps: list[tuple[str | int, Any]] = []
    if isinstance(node, dict):
        steps = list(node.items())
    elif isinstance(node, list):
        steps = list(enumerate(node))
    for step, inner in steps:
        found += places(inner, (*here, step))
    return found


def at(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def toml(value: Any) -> str:
    """A value inline; TOML has no null, and its other words differ from JSON's in nan and inf."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A built-in scenario in which one to three places were changed."""
    document = tomllib.loads(TEXTS[draw(st.sampled_from(sorted(TEXTS)))])
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(document)[1:]))
        table = at(document, tuple(path))
        how = draw(st.sampled_from(["replace", "replace", "delete", "nest", "add", "empty"]))
        if how == "replace":
            table[last] = draw(values)
        elif how == "delete":
            del table[last]
        elif how == "nest":
            table[last] = {"inner": table[last]}
        elif how == "empty":
            table[last] = draw(st.sampled_from(["", [], {}]))
        elif isinstance(table, dict):
            known = ["premises", "mock", "limits", "with_releases", "expect", "keys", "unknown"]
            table[draw(st.sampled_from(known))] = draw(values)
        if not document:
            break
    return "\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in document.items()).encode()


@st.composite
def broken_texts(draw: st.DrawFn) -> bytes:
    """A built-in scenario of which bytes were cut, overwritten or put in."""
    whole = TEXTS[draw(st.sampled_from(sorted(TEXTS)))].encode()
    start = draw(st.integers(0, len(whole)))
    junk = draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"[" * 5000, b"9" * 5000])))
    tail = whole[start + draw(st.integers(0, 8)) :] if draw(st.booleans()) else b""
    return whole[:start] + junk + tail


changes = st.builds(
    Changes,
    replicas=st.sampled_from([None, 1, 64]),
    variants=st.sampled_from([None, (), ("litellm==1.94.0", "recommended"), ("no_such",)]),
    time_scale=st.sampled_from([None, 1.0, 1e-9, 1e9]),
    premises=st.sampled_from([None, True, False]),
)


def planned(path: Path, change: Changes) -> None:
    """What `harness loadtest` does with a file before it starts anything."""
    scenario = load_scenario(str(path), change)
    choices = chosen_variants(scenario, None, ())
    # A release would have to be installed to be an arm; the plan takes it for what it is by name.
    arms = [reference_arm(choice) for choice in choices if isinstance(choice, Variant)]
    plan = make_plan(scenario, arms, stack="embedded")
    assert len(plan.keys) == sum(scenario.population.counts().values())
    assert all(map(math.isfinite, (plan.ttl_s, plan.window_s, plan.load_s)))
    assert all(math.isfinite(row.requests_per_object) for row in plan.sizing)
    json.dumps(facts(plan), allow_nan=False)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=st.one_of(documents(), documents(), broken_texts()), change=changes)
def test_a_mutated_file_is_planned_or_refused_in_words(
    tmp_path: Path, content: bytes, change: Changes
) -> None:
    path = tmp_path / "mutated.toml"
    path.write_bytes(content)
    words = refusal(path, change)
    assert words is None or 0 < len(words) < 4_000


def refusal(path: Path, change: Changes) -> str | None:
    """What a user reads, None where the run is planned; any other error is the test's failure."""
    try:
        planned(path, change)
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variants", "1"),
        ("variants", "[1]"),
        ("variants", '"litellm==1.94.0"'),
        ("premises", "3"),
        ("seed", "9" * 5000),
        ("seed", "0x" + "F" * 10_000),
        ("seed", "[" * 5000),
        ("rounds", '"' + "x" * 10_000 + '"'),
        ("variants", '["' + "x" * 10_000 + '"]'),
        ("variants", "[" + "1, " * 1_000 + "]"),
        ("ttl_s", "1e300"),
        ("ttl_s", "1e-300"),
        ("time_scale", "nan"),
        ("population", "{ team = 1000000000, user = 1, shared_id = 1, member = 1 }"),
        ("load", "{ rate_per_s = 1e308, mix = { team = 1 } }"),
        ("load", '{ model = "closed", mix = {} }'),
        ("load", "{ rate_per_s = 1e3, mix = { team = 1e308, user = 1e308 } }"),
        ("load", "{ rate_per_s = 1e3, mix = { team = 5e-324 } }"),
        ("name", '"' + "x" * 300 + '"'),
        ("expect", '[{ kind = "cell", variant = "litellm>=", scope = "team", is = "broken" }]'),
    ],
)
def test_a_value_that_no_run_can_use(tmp_path: Path, field: str, value: str) -> None:
    document = tomllib.loads(TEXTS["smoke"])
    lines = [f"{k} = {toml(v)}" for k, v in document.items() if k != field]
    lines.append(f"{field} = {value}")
    path = tmp_path / "mutated.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError) as caught:
        planned(path, Changes(premises=True))
    assert str(path) in str(caught.value) or field in str(caught.value)
    assert len(str(caught.value)) < 4_000
