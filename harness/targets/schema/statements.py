"""Which statement reads which object, by its text.

Used on both sides of the ledger: on the statements in ``pg_stat_statements``, and inside a LiteLLM
release on those about to be sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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
