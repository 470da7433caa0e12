from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cli import main
from harness.cli.options import variant_names
from harness.errors import EXIT_USAGE, UsageError
from harness.targets.litellm.releases import Release, covers
from harness.targets.litellm.sources import (
    CodeSource,
    Config,
    configured,
    is_source_name,
    parse_source,
)
from harness.targets.registry import REFERENCE, kind_of, kind_of_choice
from tests.targets.litellm.repository import wheel

ODD = st.text(alphabet="ab ,#+=@'\"()é", min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text not in {".", ".."}
)


def source(name: str) -> CodeSource:
    found = parse_source(name)
    assert isinstance(found, CodeSource)
    return found


def test_a_release_is_what_it_was() -> None:
    assert isinstance(parse_source("litellm==1.105.7"), Release)
    assert parse_source("litellm==1.105.7").name == "litellm==1.105.7"


@pytest.mark.parametrize(
    ("text", "kind", "revision", "name"),
    [
        ("litellm@{}", "tree", None, "litellm@my-tree"),
        ("litellm @ {}", "tree", None, "litellm@my-tree"),
        ("litellm@{}#v1.2/x", "commit", "v1.2/x", "litellm@my-tree#v1.2-x"),
        ("head=litellm@{}", "tree", None, "head"),
        ("base-1=litellm@{}#HEAD~1", "commit", "HEAD~1", "base-1"),
    ],
)
def test_a_folder_is_a_tree_or_a_commit(
    tmp_path: Path, text: str, kind: str, revision: str | None, name: str
) -> None:
    folder = tmp_path / "my tree"
    folder.mkdir()

    found = source(text.format(folder))

    assert (found.kind, found.revision, found.name) == (kind, revision, name)
    assert found.place == folder
    assert "not a release" in found.title


def test_a_wheel_is_a_file(tmp_path: Path) -> None:
    found = source(f"w=litellm@{wheel(tmp_path, version='1.106.0')}")
    assert (found.kind, found.name) == ("wheel", "w")


def test_a_release_may_have_a_short_name() -> None:
    found = source("base=litellm==1.105.7")
    assert (found.kind, found.name) == ("release", "base")
    assert found.release is not None
    assert found.release.version == "1.105.7"
    # Its name says nothing, so the choice itself tells the kind.
    assert kind_of(found.name) is REFERENCE
    assert kind_of_choice(found).name == "litellm"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(ODD, min_size=1, max_size=3, unique=True), once=st.booleans())
def test_any_path_survives_the_command_line(tmp_path: Path, names: list[str], once: bool) -> None:
    folders = [tmp_path / "odd" / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    texts = [f"v{i}=litellm@{folder}".replace(",", "\\,") for i, folder in enumerate(folders)]

    given_names = variant_names(None, None, (",".join(texts),) if once else tuple(texts))  # type: ignore[arg-type]

    assert given_names is not None
    assert all(is_source_name(name) for name in given_names)
    assert [source(name).place for name in given_names] == folders


def test_a_number_sign_in_an_existing_path_begins_no_revision(tmp_path: Path) -> None:
    (tmp_path / "a#b").mkdir()
    assert source(f"litellm@{tmp_path}/a#b").revision is None
    assert source(f"litellm@{tmp_path}/a#b#c").revision == "c"
    assert source(f"litellm@{tmp_path}#c").place == tmp_path


@pytest.mark.parametrize("name", ["recommended", "litellm_1_84", "x=recommended", "litellmx@a"])
def test_other_names_are_no_sources(name: str) -> None:
    assert not is_source_name(name)


def test_a_tree_is_in_no_range_of_releases() -> None:
    assert not covers("litellm>=0", "litellm@litellm")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("litellm@nowhere", r"neither a folder nor a file \[nowhere\]"),
        ("litellm@", "names no source"),
        ("litellm@{}#", "empty revision"),
        ("litellm@{}/file.txt", "neither a folder nor a wheel"),
        ("litellm@{}/other-1.0-py3-none-any.whl", r"wheel of \[other\]"),
        ("litellm@{}/litellm-1.107.2-py3-none-any.whl", "1.107 is a compromised release"),
        ("litellm@{}/odd.whl", "is not a wheel's name"),
        ("x=litellm==1.107.0", "1.107 is a compromised release"),
        ("Head=litellm@{}", r"\[Head\] is no short name"),
        ("1a=litellm==1.105.7", r"\[1a\] is no short name"),
        ("=litellm@{}", r"\[\] is no short name"),
        ("a=b=litellm@{}", r"\[b\] is no short name|\[a\] is no short name"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path: Path, text: str, message: str) -> None:
    for name in ("file.txt", "odd.whl"):
        (tmp_path / name).touch()
    wheel(tmp_path, name="other", version="1.0")
    wheel(tmp_path, version="1.107.2")
    assert is_source_name(text.format(tmp_path))
    with pytest.raises(UsageError, match=message):
        parse_source(text.format(tmp_path))


def test_a_chosen_environment_is_that_of_trees_alone(tmp_path: Path) -> None:
    tree = configured(source(f"litellm@{tmp_path}"), within="litellm==1.94.0")
    assert isinstance(tree, CodeSource)
    assert tree.within is not None
    assert tree.within.version == "1.94.0"
    named = configured(source("x=litellm==1.105.7"), within="litellm==1.94.0")
    assert isinstance(named, CodeSource)
    assert named.within is None
    with pytest.raises(UsageError, match="compromised"):
        configured(source(f"litellm@{tmp_path}"), within="1.107.1")


def test_a_release_with_a_configuration_keeps_its_name(tmp_path: Path) -> None:
    release = parse_source("litellm==1.105.7")
    with pytest.raises(UsageError, match=r"no configuration file \[.*x.yaml\]"):
        configured(release, config=Config(tmp_path / "x.yaml"))
    (tmp_path / "x.yaml").touch()
    found = configured(release, config=Config(tmp_path / "x.yaml"))
    assert found.name == release.name
    assert found.title == release.title


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("litellm==1.94.0 --environment litellm==1.105.7", "about trees, commits and wheels"),
        ("recommended --environment 1.105.7", "none takes part"),
        ("recommended --config {file}", "none takes part"),
        ("litellm==1.94.0 --keep-callbacks", "is about a --config"),
        ("litellm==1.94.0 --config {file}.gone", "no configuration file"),
        ("litellm@{folder} --environment 1.107.2", "compromised"),
        ("a=litellm@{folder},a=litellm@{folder}#x", "Two variants have the name [a]"),
        ("smoke=litellm@{folder},recommended=litellm@{folder}", "a variant of the reference proxy"),
    ],
)
def test_an_option_about_what_does_not_take_part_is_refused(
    tmp_path: Path, words: str, part: str
) -> None:
    (tmp_path / "mine.yaml").touch()
    given = words.format(file=tmp_path / "mine.yaml", folder=tmp_path).split()
    ended = CliRunner().invoke(main, ["loadtest", "--scenario", "smoke", "--variants", *given])
    assert ended.exit_code == EXIT_USAGE, ended.output
    assert part in " ".join(ended.output.split())
