"""The named variants are those of the design, with exactly the differences that it states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.authcache.codecs import load_codec
from harness.authcache.switches import Switches
from harness.authcache.variants import (
    BASELINE,
    Variant,
    differences,
    load_variants,
    override,
    pick,
)
from harness.errors import ScenarioError, UnknownNameError, UsageError

LITELLM_1_84: Mapping[str, Any] = {
    "codec": "exclude_none",
    "key_layout": "raw_ids",
    "membership_budget": "required",
    "redis": "on",
    "memory_payload": "encoded",
    "memory_entries": 200,
    "backfill_ttl": "fixed_600s",
    "republish": "on",
    "spend_path": "read_modify_write",
    "spend_ttl": "fixed_60s",
    "spend_write_back": "both_tiers",
    "spend_counter": "redis_add",
    "coalescing": "none",
    "negative_caching": "off",
    "lookups": "repeated",
    "invalidation": "handler",
    "late_store": "on",
    "redis_outage": "counted",
    "unreadable": "kept",
    "expiry": "exact",
    "lost_news": "dropped",
    "source_outage": "waits",
    "spend_flush": "repeated",
    "spend_at_end": "lost",
}

LITELLM_1_83 = {"codec": "raw", "redis": "off", "memory_payload": "object"}
LITELLM_1_91 = {
    "key_layout": "team_prefixed",
    "membership_budget": "default_none",
    "spend_counter": "redis_nx",
}
LITELLM_1_93 = {**LITELLM_1_91, "codec": "keep_none"}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "litellm_1_84": {},
    "fix_optional_user_id": {"codec": "optional_user_id"},
    "fix_keep_required_none": {"codec": "keep_required_none"},
    "fix_keep_none": {"codec": "keep_none"},
    "all_prefixed": {"key_layout": "all_prefixed"},
    "envelope": {"codec": "envelope"},
    "memory_only": {"redis": "off"},
    "litellm_1_83": LITELLM_1_83,
    "raw_redis": {"codec": "raw", "memory_payload": "object"},
    "litellm_1_91": LITELLM_1_91,
    "litellm_1_93": LITELLM_1_93,
    # The release writes what it has charged to memory alone, beside the two that have a switch of
    # their own in the design.
    "litellm_1_94": {
        **LITELLM_1_93,
        "backfill_ttl": "entry_ttl",
        "republish": "teams",
        "spend_write_back": "memory",
    },
}
"""What differs from ``litellm_1_84``, by name."""

VARIANTS = load_variants()


def row(text: str, tmp_path: Path) -> dict[str, Variant]:
    path = tmp_path / "variants.toml"
    path.write_text(text)
    return load_variants(path)


def test_the_baseline_is_the_first_column_of_the_design() -> None:
    assert VARIANTS[BASELINE].switches.model_dump() == LITELLM_1_84
    assert Switches().model_dump() == LITELLM_1_84


def test_there_are_no_others() -> None:
    assert VARIANTS.keys() == CHANGES.keys() | {"recommended"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_variant_differs_as_the_design_says(name: str) -> None:
    changed = differences(VARIANTS[name], VARIANTS[BASELINE])

    assert changed == {
        switch: (LITELLM_1_84[switch], value) for switch, value in CHANGES[name].items()
    }


def test_recommended_is_bounded_and_tagged() -> None:
    switches = VARIANTS["recommended"].switches

    # Nothing older than the sum of the TTLs: no write may keep old data alive.
    assert (switches.backfill_ttl, switches.republish) == ("entry_ttl", "off")
    assert (switches.invalidation, switches.late_store) == ("generation", "off")
    assert switches.spend_path == "write_behind" or switches.spend_ttl == "entry_ttl"
    assert switches.key_layout == "all_prefixed"
    assert switches.membership_budget == "default_none"
    assert switches.redis == "on"
    assert switches.lookups == "once"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_picked_and_says_what_it_stands_for(name: str) -> None:
    (variant,) = pick(VARIANTS, [name])

    assert variant.name == name
    assert variant.title
    assert variant.stands_for
    assert load_codec(variant.switches.codec).name == variant.switches.codec


def test_picking_keeps_the_order() -> None:
    names = ["recommended", "litellm_1_84", "envelope"]

    assert [variant.name for variant in pick(VARIANTS, names)] == names


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["recomended"], UnknownNameError, r"\[recomended\]. Did you mean \[recommended\]"),
        (["envelope", "envelope"], UsageError, r"\[envelope\] is named twice"),
        ([], UsageError, r"Name at least one"),
    ],
)
def test_a_choice_that_cannot_be_made(
    names: list[str], error: type[UsageError], words: str
) -> None:
    with pytest.raises(error, match=words):
        pick(VARIANTS, names)


def test_a_variant_of_a_users_own(tmp_path: Path) -> None:
    text = """
    [mine]
    title = "Mine"
    stands_for = "a trial"
    base = "recommended"
    switches = { codec = "users_codecs:Mine", memory_entries = 5 }
    [on_top]
    title = "On top"
    stands_for = "another"
    base = "mine"
    """

    variants = row(text, tmp_path)

    expected = {"codec": "users_codecs:Mine", "memory_entries": 5}
    for name in ("mine", "on_top"):
        changed = differences(variants[name], variants["recommended"])
        assert {switch: new for switch, (_, new) in changed.items()} == expected
    assert variants.keys() - VARIANTS.keys() == {"mine", "on_top"}


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ('{ codek = "raw" }', r"switch of variant \[mine\].*\[codek\]. Did you mean \[codec\]"),
        ('{ redis = "maybe" }', r"redis \[maybe\]: Input should be 'on' or 'off'"),
        ("{ memory_entries = -1 }", r"memory_entries \[-1\]: Input should be greater"),
        ('{ memory_entries = "many" }', r"memory_entries \[many\]: Input should be a valid int"),
        ('{ codec = "raw" }', r"needs memory_payload = object"),
        ('{ coalescing = "lease", redis = "off" }', r"lease needs redis = on"),
        ('{ redis = "off", memory_entries = 0 }', r"leaves no tier at all"),
        ("5", r"switches \[5\]: Input should be a valid dictionary"),
    ],
)
def test_a_switch_that_does_not_fit(switches: str, words: str, tmp_path: Path) -> None:
    text = f"""
    [mine]
    title = "Mine"
    stands_for = "a trial"
    base = "litellm_1_84"
    switches = {switches}
    """

    with pytest.raises(UsageError, match=words):
        row(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("mine = 3", ScenarioError, r"variant \[mine\] in \["),
        ("[mine]\ntitle = 'Mine'", ScenarioError, r"stands_for: Field required"),
        ("[mine", ScenarioError, r"is not TOML"),
        ("[mine]\ntitle='M'\nstands_for='m'\nbase='litelm'", UnknownNameError, r"\[litelm\]"),
        ("[mine]\ntitle='M'\nstands_for='m'\nbass='x'", ScenarioError, r"bass: there is no such"),
        ("[recommended]\ntitle='M'\nstands_for='m'", ScenarioError, r"exists already"),
    ],
)
def test_a_file_that_does_not_fit(
    text: str, error: type[UsageError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words) as caught:
        row(text, tmp_path)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: No such file"):
        load_variants(tmp_path / "none.toml")


def test_an_override_keeps_the_name_and_says_what_it_changed() -> None:
    changed = override(VARIANTS["recommended"], {"codec": "exclude_none"})
    again = override(changed, {"memory_entries": "7", "codec": "keep_none"})

    assert again.name == "recommended"
    assert again.overridden == ("codec", "memory_entries")
    assert again.switches.memory_entries == 7
    assert again.switches.codec == "keep_none"
    assert again.switches.key_layout == "all_prefixed"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"codeck": "raw"}, UnknownNameError, r"switch \[codeck\]. Did you mean \[codec\]"),
        ({"redis": "of"}, ScenarioError, r"override of variant \[recommended\].*redis \[of\]"),
    ],
)
def test_an_override_that_does_not_fit(
    changes: dict[str, str], error: type[UsageError], words: str
) -> None:
    with pytest.raises(error, match=words):
        override(VARIANTS["recommended"], changes)
