"""Codecs of a user's own: by path, by entry point, and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.authcache.codecs import codec_names, load_codec, register
from harness.authcache.codecs import registry as registry_module
from harness.authcache.codecs.base import T
from harness.authcache.codecs.json_models import KeepNone
from harness.authcache.codecs.probe import PLAIN, probe
from harness.authcache.objects import CachedObject, Team
from harness.authcache.switches import Switches
from harness.authcache.words import ObjectKind
from harness.errors import CodecLoadError, DecodeError, EncodeError, UnknownNameError
from harness.targets.registry import REFERENCE
from tests.authcache.test_codecs import LOSES_THE_BUDGET

TEAM = PLAIN[ObjectKind.TEAM]

GOOD = """
from harness.authcache.codecs.json_models import KeepNone

class Mine(KeepNone):
    name = "mine"
    summary = "the user's"

class NeedsMore(KeepNone):
    def __init__(self, level): ...

class OnlyEncode:
    def encode(self, kind, value): ...

instance = Mine()
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, with the module ``users_codecs`` in it."""
    (tmp_path / "users_codecs.py").write_text(GOOD)
    (tmp_path / "broken_codecs.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("users_codecs", None)


def install(packages: Path, package: str, **codecs: str) -> None:
    """Leave what an installed package with entry points leaves."""
    info = packages / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "\n".join(f"{name} = {value}" for name, value in codecs.items())
    (info / "entry_points.txt").write_text(f"[harness.codecs]\n{points}\n")


def round_trips(name: str) -> bool:
    codec = load_codec(name)
    back: CachedObject = codec.decode(
        ObjectKind.TEAM, codec.encode(ObjectKind.TEAM, TEAM), type(TEAM)
    )
    return back == TEAM


@pytest.mark.usefixtures("packages")
def test_by_its_path() -> None:
    assert round_trips("users_codecs:Mine")
    assert "users_codecs:Mine" not in codec_names()


def test_by_an_entry_point(packages: Path) -> None:
    install(packages, "users-package", mine="users_codecs:Mine")

    assert codec_names()["mine"] == "entry point users_codecs:Mine"
    assert round_trips("mine")


def test_the_same_entry_point_found_twice_is_one(packages: Path) -> None:
    install(packages, "users-package", mine="users_codecs:Mine")
    install(packages, "users-package-again", mine="users_codecs:Mine")

    assert round_trips("mine")


def test_an_entry_point_may_not_take_a_name_of_ours(packages: Path) -> None:
    install(packages, "users-package", keep_none="users_codecs:Mine")

    with pytest.raises(CodecLoadError, match=r"\[keep_none\] is taken twice: by \[.*:KeepNone\]"):
        load_codec("keep_none")
    # Not only where it is asked for: which of the two it would be cannot be known.
    with pytest.raises(CodecLoadError, match=r"\[users_codecs:Mine\]. Rename one of them"):
        load_codec("exclude_none")


def test_two_entry_points_may_not_have_one_name(packages: Path) -> None:
    install(packages, "users-package", mine="users_codecs:Mine")
    install(packages, "another-package", mine="users_codecs:OnlyEncode")

    with pytest.raises(CodecLoadError, match=r"\[mine\] is taken twice"):
        codec_names()


def test_a_class_may_not_register_under_a_name_that_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry_module, "_classes", {"keep_none": KeepNone})

    class Usurper(KeepNone):
        pass

    with pytest.raises(CodecLoadError, match=r"taken twice: by \[.*:KeepNone\] and by \[.*Usurp"):
        register(Usurper)
    assert register(KeepNone) is KeepNone


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module:Codec", r"\[no_such_module:Codec\].*No module named.*PYTHONPATH"),
        ("broken_codecs:Codec", r"No module named 'no_such_package'"),
        ("users_codecs:Missing", r"has no attribute 'Missing'"),
        ("users_codecs:OnlyEncode", r"is not a codec: it lacks decode\. Give the class encode"),
        ("users_codecs:instance", r"is not a codec: it lacks a constructor"),
        ("users_codecs:NeedsMore", r"cannot be made: .*'level'.*must take no arguments"),
        ("builtins:len", r"is not a codec: it lacks encode and decode"),
        (":", r"\[:\] cannot be loaded"),
    ],
)
@pytest.mark.usefixtures("packages")
def test_a_path_that_leads_to_no_codec(path: str, words: str) -> None:
    with pytest.raises(CodecLoadError, match=words):
        load_codec(path)


def test_an_entry_point_that_leads_to_no_codec(packages: Path) -> None:
    install(packages, "users-package", mine="broken_codecs:Codec")

    with pytest.raises(CodecLoadError, match=r"\[mine\] from entry point \[broken_codecs:Codec\]"):
        load_codec("mine")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"codec \[keepnone\].*\[keep_none\].*module:Class"):
        load_codec("keepnone")


class Refuses(KeepNone):
    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        if kind is ObjectKind.KEY:
            raise EncodeError("no keys")
        return super().encode(kind, value)

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        if kind is ObjectKind.TEAM:
            raise DecodeError("no teams")
        return super().decode(kind, payload, model)


class Text(KeepNone):
    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        return super().encode(kind, value).decode()  # type: ignore[return-value]  # the mistake


class Crashes(KeepNone):
    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        if kind is ObjectKind.MEMBERSHIP:
            raise ZeroDivisionError("at the last object")
        return super().decode(kind, payload, model)


class Mapping(KeepNone):
    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        return super().decode(kind, payload, model).model_dump()  # type: ignore[return-value]  # the mistake


class AnotherKind(KeepNone):
    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        del kind, payload, model
        return Team(team_id="t")  # type: ignore[return-value]  # the mistake


class NeedsMore(KeepNone):
    def decode(self, payload: bytes) -> None:  # type: ignore[override]  # the mistake
        raise AssertionError(payload)


@pytest.mark.parametrize("name", codec_names())
def test_our_own_are_judged_by_the_models_that_a_variant_uses(name: str) -> None:
    from_1_89 = Switches(membership_budget="default_none").models
    assert probe(load_codec(name), name, from_1_89) == []
    budget = (
        f"The codec [{name}] cannot read back a membership with required fields only "
        "(litellm_budget_table None): 1 validation error for LiteLLM_TeamMembership "
        "litellm_budget_table Field required."
    )
    up_to_1_88 = probe(load_codec(name), name, Switches().models)
    assert up_to_1_88 == ([budget] if name in LOSES_THE_BUDGET else [])


def test_a_model_of_a_variant_reaches_the_codec() -> None:
    asked: list[type[CachedObject]] = []

    class Notes(KeepNone):
        def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
            asked.append(model)
            return super().decode(kind, payload, model)

    for budget in ("required", "default_none"):
        models = Switches(membership_budget=budget).models
        asked.clear()
        codec: Any = Notes()
        assert probe(codec, "mine", models) == []
        assert asked == [model for model in models.values() for _ in range(2)]


def test_what_a_codec_refuses_to_write_is_its_right_and_what_it_wrote_it_must_read() -> None:
    codec: Any = Refuses()
    assert probe(codec, "mine") == ["The codec [mine] cannot read back a plain team: no teams."]


@pytest.mark.parametrize(
    ("variant", "warns"),
    [
        ("litellm_1_84", True),
        ("litellm_1_91", False),
        ("fix_keep_none", False),
        ("raw_redis", False),
    ],
)
def test_a_run_is_warned_of_its_variants_codec(variant: str, warns: bool) -> None:
    notes = REFERENCE.ready(REFERENCE.choose(variant)).notes
    assert [note.partition(" a membership")[0] for note in notes] == (
        [f"Warning: {variant}: The codec [exclude_none] cannot read back"] if warns else []
    )


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        (Crashes(), "[mine] fails on a plain membership: ZeroDivisionError: at the last object."),
        (Mapping(), "[mine] fails on a plain key: TypeError: decode returned dict, not Key."),
        (AnotherKind(), "[mine] fails on a plain key: TypeError: decode returned Team, not Key."),
    ],
)
def test_a_failure_is_a_warning_since_its_author_wants_to_see_it(codec: Any, words: str) -> None:
    assert f"The codec {words}" in probe(codec, "mine")


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        (Text(), r"\[mine\] fails on a plain key: TypeError: encode returned str, not bytes"),
        (NeedsMore(), r"\[mine\] cannot be called: decode takes other arguments"),
    ],
)
def test_a_codec_that_cannot_be_called_is_an_error(codec: Any, words: str) -> None:
    with pytest.raises(CodecLoadError, match=words):
        probe(codec, "mine")
