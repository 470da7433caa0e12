from __future__ import annotations

from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SetupError
from harness.stack.dsn import check_url, replaced, shown, without_secrets

# No lower-case letters, so that no secret is part of the rest of an address by chance.
characters = st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Ll"])
secrets = st.text(characters, min_size=6, max_size=20)
DSN = "postgresql://me:pw@db.example:5433/mine?sslmode=require&user=x&password=y&dbname=z"


def test_another_database_for_the_same_user() -> None:
    assert replaced(DSN, database="other") == (
        "postgresql://me:pw@db.example:5433/other?sslmode=require&user=x&password=y"
    )


def test_another_user_leaves_nothing_of_the_first() -> None:
    assert replaced(DSN, database="other", user="you", password="p") == (
        "postgresql://you:p@db.example:5433/other?sslmode=require"
    )


def test_a_server_without_a_user() -> None:
    assert replaced("postgres://h", database="d") == "postgresql://h/d"


@given(user=secrets, password=secrets, database=secrets)
def test_any_user_password_and_database(user: str, password: str, database: str) -> None:
    parts = urlsplit(replaced(DSN, database=database, user=user, password=password))

    assert unquote(parts.username or "") == user
    assert unquote(parts.password or "") == password
    assert unquote(parts.path) == f"/{database}"
    assert (parts.hostname, parts.port) == ("db.example", 5433)
    assert parse_qs(parts.query) == {"sslmode": ["require"]}


@given(password=secrets)
def test_no_message_repeats_a_password(password: str) -> None:
    for form in (f"://me:{quote(password, safe='')}@h/d", f"://h/d?password={quote(password)}"):
        url = f"postgresql{form}"
        text = without_secrets(f"cannot <{url}> or <{password}>", url)
        assert password not in text.replace("***", "")
        assert quote(password, safe="") not in text.replace("***", "")
        assert password not in shown(url)


def test_what_is_shown() -> None:
    assert shown(DSN) == "postgresql://db.example:5433/mine"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTGRES_DSN", "postgres://h:5432/d"),
        ("POSTGRES_DSN", "postgresql://u:p@h1,h2/d"),
        ("REDIS_URL", "rediss://:p@h:6379/1"),
        ("REDIS_URL", "unix:///run/redis.sock"),
    ],
)
def test_addresses_that_are_taken(variable: str, value: str) -> None:
    check_url(variable, value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTGRES_DSN", "redis://h/0"),
        ("POSTGRES_DSN", "host=h dbname=d password=hidden"),
        ("POSTGRES_DSN", "postgresql://u:hidden@h:port/d"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", ""),
    ],
)
def test_addresses_that_are_refused_without_being_shown(variable: str, value: str) -> None:
    with pytest.raises(SetupError, match=variable) as error:
        check_url(variable, value)

    assert "hidden" not in str(error.value)
