"""Which statement reads which object, by its text.

Used on both sides of the ledger: on the statements in ``pg_stat_statements``, and inside a LiteLLM
release on those about to be sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.authcache.words import ObjectKind

# Prisma's engine writes the schema before a table's name.
_FROM = r'\bFROM\s+(?:"public"\.)?'


def _reads(table: str) -> re.Pattern[str]:
    return re.compile(rf'^SELECT\b.*{_FROM}"{table}"', re.DOTALL)


STATEMENTS: Mapping[ObjectKind, re.Pattern[str]] = {
    # The planted lookup joins the token table too, so a user is matched by its columns.
    ObjectKind.USER: re.compile(r'^SELECT\b(?!.*\bv\.token\b).*"LiteLLM_UserTable"', re.DOTALL),
    ObjectKind.KEY: _reads("LiteLLM_VerificationToken"),
    ObjectKind.MEMBERSHIP: _reads("LiteLLM_TeamMembership"),
    ObjectKind.TEAM: _reads("LiteLLM_TeamTable"),
}
"""Which statement reads which object; the first that matches."""


def classify(query: str) -> ObjectKind | None:
    """The object that a statement reads, None for any other statement."""
    text = query.strip()
    for kind, pattern in STATEMENTS.items():
        if pattern.match(text):
            return kind
    return None


Others = Sequence[tuple[str, re.Pattern[str]]]
"""Statements that read no object: a name, and what the whole text looks like."""

_TRANSACTION = ("transaction", re.compile(r"(?:BEGIN|COMMIT|ROLLBACK);?"))
REFERENCE_OTHERS: Others = (
    (
        "spend",
        re.compile(
            r'UPDATE "LiteLLM_(?:VerificationToken|UserTable|TeamTable|TeamMembership)"'
            r" SET spend = spend \+ \$1 WHERE"
            r" (?:token|user_id|team_id) = \$2(?: AND team_id = \$3)?"
            r"(?: RETURNING [a-z_, ]+)?"
            r'|INSERT INTO "Harness_SpendFlush" .*',
            re.DOTALL,
        ),
    ),
    (
        "management",
        re.compile(
            r'(?:INSERT INTO|UPDATE|DELETE FROM) "LiteLLM_\w+" (?!SET spend\b).*'
            r"\sRETURNING [a-z_, *]+",
            re.DOTALL,
        ),
    ),
    _TRANSACTION,
    ("health check", re.compile(r"SELECT \$1")),
)
"""What the reference proxy sends besides: writes of spend, management calls, and what its driver
adds."""
RELEASE_OTHERS: Others = (
    (
        "write",
        re.compile(
            r'(?:INSERT INTO|UPDATE|DELETE FROM) (?:"public"\.)?"LiteLLM_\w+"\s.*', re.DOTALL
        ),
    ),
    (
        "management",
        re.compile(
            rf'SELECT\b.*{_FROM}"LiteLLM_(?:UISettings|JWTKeyMapping|BudgetTable)" WHERE'
            r" [^ ]+\.\"?(?:id|token|budget_id)\"? (?:= \$\d|= ANY\(|IN \().*"
            rf'|SELECT\b.*{_FROM}"LiteLLM_ProxyModelTable" WHERE .* LIKE \$\d.*'
            r'|SELECT access_group_id\s+FROM "LiteLLM_AccessGroupTable"\s.*'
            r"|SELECT pg_advisory_xact_lock\(hashtext\(\$\d\)\) .*",
            re.DOTALL,
        ),
    ),
    _TRANSACTION,
)
"""What any release sends besides. Its reads of other tables have no name: they are listed.

``management`` is what management calls of 1.92.2 to 1.105.7 read, and a request with a virtual key
does not.
"""


def name_other(query: str, others: Others) -> str | None:
    """The name of a statement that reads no object, None for one that is unknown."""
    text = query.strip()
    return next((name for name, pattern in others if pattern.fullmatch(text)), None)
