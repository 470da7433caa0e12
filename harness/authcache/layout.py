"""Key layouts: how the cache key of an object is built.

Only this module decides whether two kinds of object can share a cache key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """Prefixes of cache keys. Up to 1.90 three kinds of object share the empty prefix."""

    name: str
    key_prefix: str
    user_prefix: str
    team_prefix: str
    team_copy_prefix: str
    """Upstream writes every team a second time; up to 1.90 under its raw id."""
    member_prefix: str
    """Of a membership's second copy, ``{team}_{user}`` upstream."""
    membership_prefix: str = "team_membership:"

    def key(self, token: str) -> str:
        """Cache key of a virtual key, by its hashed token."""
        return self.key_prefix + token

    def user(self, user_id: str) -> str:
        """Cache key of a user."""
        return self.user_prefix + user_id

    def team(self, team_id: str) -> str:
        """Cache key of a team."""
        return self.team_prefix + team_id

    def team_copy(self, team_id: str) -> str:
        """Cache key of a team's second copy."""
        return self.team_copy_prefix + team_id

    def membership(self, user_id: str, team_id: str) -> str:
        """Cache key of a membership in the common checks."""
        return f"{self.membership_prefix}{user_id}:{team_id}"

    def member(self, user_id: str, team_id: str) -> str:
        """Cache key of a membership in the key check."""
        return f"{self.member_prefix}{team_id}_{user_id}"


LAYOUTS: Mapping[str, KeyLayout] = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            KeyLayout("raw_ids", "", "", "team_id:", "", ""),
            KeyLayout("team_prefixed", "", "", "team_id:", "team_id:", ""),
            KeyLayout("all_prefixed", "key:", "user_id:", "team_id:", "team_id:", "team_member:"),
            KeyLayout(
                "apart",
                "authcache:key:",
                "authcache:user:",
                "authcache:team:",
                "authcache:team:",
                "authcache:member:",
                "authcache:membership:",
            ),
        )
    }
)
"""By name: ``raw_ids`` up to 1.90, ``team_prefixed`` from 1.91, ``all_prefixed`` and ``apart``
proposals. The names of the first are those of releases for a team and a membership; no release has
one of ``apart``, so that another payload can be rolled out beside a release on one Redis."""
