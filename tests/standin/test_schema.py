from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.targets.litellm.environment import installed
from standin.prisma import enums, locating, models, types
from standin.prisma.errors import PrismaError
from standin.prisma.parsing import SchemaSyntaxError, parse
from standin.prisma.reading import read_schema
from standin.prisma.schema import SCALARS, Function, Join, Schema
from tests.standin.sample import SCHEMA, TEXT

OWNER = SCHEMA.models["Owner"]


def test_tables_columns_and_types() -> None:
    assert set(SCHEMA.models) == {"Owner", "Thing", "Maker", "Counter", "Nowhere"}
    assert OWNER.table == "OwnerTable"
    assert OWNER.accessor == "owner"
    assert SCHEMA.by_accessor["owner"] is OWNER
    created = OWNER.fields["created_at"]
    assert (created.column, created.type, created.is_optional) == ("made_at", "DateTime", False)
    assert OWNER.fields["tags"].is_list
    assert OWNER.fields["tpm"].is_optional
    assert OWNER.fields["seen_at"].native == "Timestamptz"
    assert OWNER.fields["colour"].kind == "enum"
    assert SCHEMA.enums == {"Colour": ("RED", "GREEN")}
    assert [one.name for one in OWNER.columns][-1] == "boss_id"
    assert set(OWNER.relations) == {"boss", "staff", "things"}


def test_defaults() -> None:
    defaults = {
        name: one.default.value for name, one in OWNER.fields.items() if one.default is not None
    }
    assert defaults == {
        "owner_id": Function("uuid"),
        "labels": ["new", 'n"2'],
        "spend": 0.0,
        "blocked": False,
        "metadata": "{}",
        "colour": "RED",
        "created_at": Function("now"),
    }
    assert OWNER.fields["updated_at"].is_updated_at
    # Prisma's formatter leaves a blank between the attribute and its argument alone.
    note = SCHEMA.models["Thing"].fields["note"].default
    assert note is not None
    assert note.value == ""


def test_keys() -> None:
    assert OWNER.id == ("owner_id",)
    assert OWNER.uniques == {"owner_id": ("owner_id",), "email": ("email",)}
    thing = SCHEMA.models["Thing"]
    assert thing.id == ("owner_id", "name")
    assert thing.uniques == {"owner_id_name": ("owner_id", "name"), "number": ("number",)}
    assert SCHEMA.models["Counter"].uniques == {"per_day": ("day", "kind")}


def test_relations_from_both_sides() -> None:
    assert OWNER.fields["things"].join == Join("Thing", ("owner_id",), ("owner_id",), owner=False)
    thing = SCHEMA.models["Thing"]
    assert thing.fields["owner"].join == Join("Owner", ("owner_id",), ("owner_id",), owner=True)
    assert OWNER.fields["boss"].join == Join("Owner", ("boss_id",), ("owner_id",), owner=True)
    assert OWNER.fields["staff"].join == Join("Owner", ("owner_id",), ("boss_id",), owner=False)


def test_two_relations_to_one_table_are_told_apart_by_name() -> None:
    schema = read_schema("""
        model A { id Int @id
          made Link[] @relation("Made")
          seen Link[] @relation("Seen") }
        model Link { id Int @id
          by Int
          of Int
          maker A @relation("Made", fields: [by], references: [id])
          viewer A @relation(name: "Seen", fields: [of], references: [id]) }
    """)
    joins = {name: one.join for name, one in schema.models["A"].relations.items()}
    assert joins["made"] == Join("Link", ("id",), ("by",), owner=False)
    assert joins["seen"] == Join("Link", ("id",), ("of",), owner=False)


def test_a_relation_without_a_foreign_key_stays_unresolved() -> None:
    schema = read_schema("model A { id Int @id\n bs B[] }\nmodel B { id Int @id\n as A[] }")
    assert schema.models["A"].fields["bs"].join is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model A {\n id Int\n", 3),
        ("model A {\n id Int @default(\n}", 3),
        ("model A {\n id Int ;\n}", 2),
        ("model {\n}", 1),
        ("model A {\n id Int id\n}", 2),
        ("model A {\n id Int @default(", 2),
        ("model A {\n id Int @id(map: [", 2),
        ("datasource a {\n url = [", 2),
    ],
)
def test_what_is_no_schema_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(SchemaSyntaxError, match=rf"^line {line}:"):
        parse(text)


_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
_TEXTS = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp"], max_codepoint=0x2FF), max_size=12
)


@st.composite
def _fields(draw: st.DrawFn) -> tuple[str, str]:
    """A field's name and its line."""
    name = draw(_NAMES)
    kind = draw(st.sampled_from(sorted(SCALARS)))
    suffix = draw(st.sampled_from(["", "?", "[]"]))
    default = draw(st.none() | _TEXTS)
    comment = draw(st.none() | _TEXTS)
    line = f"{name}  {kind}{suffix}"
    if default is not None and kind == "String" and not suffix:
        escaped = default.replace("\\", "\\\\").replace('"', '\\"')
        line += f' @default("{escaped}")'
    return name, line + (f" // {comment}" if comment is not None else "")


@given(st.lists(_fields(), min_size=1, max_size=8, unique_by=lambda one: one[0]))
def test_any_fields_are_read_in_order(fields: list[tuple[str, str]]) -> None:
    lines = "\n  ".join(line for _, line in fields)
    schema = read_schema(f"// head\n\nmodel M {{\n  {lines}\n}}\n")
    read = schema.models["M"].fields
    assert list(read) == [name for name, _ in fields]
    for name, line in fields:
        kind, _, rest = line.removeprefix(name).strip().partition(" ")
        assert kind.startswith(read[name].type)
        assert ("[]" in kind, "?" in kind) == (read[name].is_list, read[name].is_optional)
        assert (read[name].default is not None) == rest.startswith("@default")


@given(_TEXTS)
def test_a_string_comes_back_as_it_was(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    schema = read_schema(f'model M {{ id String @id @default("{escaped}") }}')
    default = schema.models["M"].fields["id"].default
    assert default is not None
    assert default.value == text


@pytest.mark.parametrize("environment", installed(), ids=lambda one: str(one.version))
def test_the_schemas_of_installed_releases_are_read_whole(environment: object) -> None:
    site = environment.site_packages  # type: ignore[attr-defined]  # parametrised
    text = (site / "litellm_proxy_extras" / "schema.prisma").read_text(encoding="utf-8")
    schema = read_schema(text)
    assert len(schema.models) == text.count("\nmodel ") > 50
    for model in schema.models.values():
        assert model.uniques, model.name
        assert all(one.join is not None for one in model.relations.values()), model.name
    team = schema.by_accessor["litellm_teammembership"]
    assert team.uniques == {"user_id_team_id": ("user_id", "team_id")}


def test_where_two_schemas_differ_the_first_one_counts() -> None:
    first = read_schema("model A { id Int @id }")
    second = read_schema("model A { id Int @id\n more Int? }\nmodel B { id Int @id }\nenum E { X }")
    both = locating.merged([first, second])
    assert set(both.models["A"].fields) == {"id"}
    assert set(both.models) == {"A", "B"}
    assert both.enums == {"E": ("X",)}


def test_the_schema_may_be_named_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "schema.prisma"
    path.write_text(TEXT, encoding="utf-8")
    monkeypatch.setenv(locating.SCHEMA_VARIABLE, str(path))
    locating.use_schema(None)
    read = locating.current_schema()
    assert read == SCHEMA
    assert locating.current_schema() is read


def test_without_a_release_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(locating.SCHEMA_VARIABLE, raising=False)
    locating.use_schema(None)
    with pytest.raises(PrismaError, match="Install litellm"):
        locating.current_schema()


def test_rows_types_and_enums_are_made_from_the_schema(sample_schema: Schema) -> None:
    assert models.Owner is models.Owner
    assert list(models.Owner.model_fields) == list(sample_schema.models["Owner"].fields)
    assert models.Owner.model_fields["tags"].annotation == list[str]
    assert types.OwnerWhereUniqueInput(owner_id="x") == {"owner_id": "x"}
    assert types.DatasourceOverride(url="x") == {"url": "x"}
    assert enums.Colour.GREEN == "GREEN"
    for module in (models, types, enums):
        with pytest.raises(AttributeError):
            module.Nobody  # noqa: B018 - the access is the test
