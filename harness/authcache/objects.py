"""The cached models, with the field rules of LiteLLM's (1.84).

Names, optionality and defaults of the fields follow the release, because they decide what a codec
can drop and what a reader then misses. The titles are LiteLLM's class names, so that a validation
error reads as it does there. Two rules differ between releases and are models of their own:
`MembershipDefaultNone` (1.89 on) and `UserOptionalId` (the first fix that issue #27874 proposes).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.authcache.words import ObjectKind


class CachedObject(BaseModel):
    """Base class of all cached objects."""

    # Infinity stays Infinity: LiteLLM's json.dumps writes it so, where Pydantic would write null.
    model_config = ConfigDict(protected_namespaces=(), ser_json_inf_nan="constants")


class Budget(CachedObject):
    """Limits that several rows can share."""

    model_config = ConfigDict(title="LiteLLM_BudgetTable")

    budget_id: str | None = None
    soft_budget: float | None = None
    max_budget: float | None = None
    max_parallel_requests: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    model_max_budget: dict[str, Any] | None = None
    budget_duration: str | None = None
    allowed_models: list[str] | None = None
    created_at: datetime | None = None


class Key(CachedObject):
    """A virtual key joined with the columns of its team that every request needs."""

    model_config = ConfigDict(title="UserAPIKeyAuth")

    token: str | None = None
    key_name: str | None = None
    key_alias: str | None = None
    spend: float = 0.0
    max_budget: float | None = None
    expires: datetime | None = None
    models: list[str] = Field(default_factory=list)
    aliases: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    user_id: str | None = None
    team_id: str | None = None
    agent_id: str | None = None
    project_id: str | None = None
    max_parallel_requests: int | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    budget_duration: str | None = None
    budget_reset_at: datetime | None = None
    allowed_cache_controls: list[str] | None = Field(default_factory=list)
    allowed_routes: list[str] | None = Field(default_factory=list)
    permissions: dict[str, Any] = Field(default_factory=dict)
    model_spend: dict[str, Any] = Field(default_factory=dict)
    model_max_budget: dict[str, Any] = Field(default_factory=dict)
    soft_budget_cooldown: bool = False
    blocked: bool | None = None
    litellm_budget_table: dict[str, Any] | None = None
    org_id: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None
    last_active: datetime | None = None
    object_permission_id: str | None = None
    object_permission: dict[str, Any] | None = None
    access_group_ids: list[str] | None = None
    rotation_count: int | None = 0
    auto_rotate: bool | None = False
    rotation_interval: str | None = None
    last_rotation_at: datetime | None = None
    key_rotation_at: datetime | None = None
    router_settings: dict[str, Any] | None = None
    budget_limits: list[dict[str, Any]] | None = None
    team_spend: float | None = None
    team_alias: str | None = None
    team_tpm_limit: int | None = None
    team_rpm_limit: int | None = None
    team_max_budget: float | None = None
    team_soft_budget: float | None = None
    team_models: list[str] = Field(default_factory=list)
    team_blocked: bool = False
    soft_budget: float | None = None
    team_model_aliases: dict[str, Any] | None = None
    team_member: dict[str, Any] | None = None
    team_metadata: dict[str, Any] | None = None
    team_object_permission_id: str | None = None
    team_member_spend: float | None = None
    team_member_tpm_limit: int | None = None
    team_member_rpm_limit: int | None = None
    end_user_id: str | None = None
    end_user_tpm_limit: int | None = None
    end_user_rpm_limit: int | None = None
    end_user_max_budget: float | None = None
    end_user_model_max_budget: dict[str, Any] | None = None
    organization_alias: str | None = None
    organization_max_budget: float | None = None
    organization_tpm_limit: int | None = None
    organization_rpm_limit: int | None = None
    organization_metadata: dict[str, Any] | None = None
    project_alias: str | None = None
    project_metadata: dict[str, Any] | None = None
    last_refreshed_at: float | None = None
    api_key: str | None = None
    user_role: str | None = None
    allowed_model_region: str | None = None
    rpm_limit_per_model: dict[str, int] | None = None
    tpm_limit_per_model: dict[str, int] | None = None
    user_tpm_limit: int | None = None
    user_rpm_limit: int | None = None
    user_email: str | None = None
    user_spend: float | None = None
    user_max_budget: float | None = None
    request_route: str | None = None
    user: dict[str, Any] | None = None
    created_by_user: dict[str, Any] | None = None
    end_user_object_permission: dict[str, Any] | None = None
    team_object_permission: dict[str, Any] | None = None
    jwt_claims: dict[str, Any] | None = None


class User(CachedObject):
    """A user row. ``user_id`` is required and cannot be None in any release."""

    model_config = ConfigDict(title="LiteLLM_UserTable")

    user_id: str
    max_budget: float | None = None
    spend: float = 0.0
    model_max_budget: dict[str, Any] | None = Field(default_factory=dict)
    model_spend: dict[str, Any] | None = Field(default_factory=dict)
    user_email: str | None = None
    user_alias: str | None = None
    models: list[str] = Field(default_factory=list)
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    user_role: str | None = None
    organization_memberships: list[dict[str, Any]] | None = None
    teams: list[str] = Field(default_factory=list)
    sso_user_id: str | None = None
    budget_duration: str | None = None
    budget_reset_at: datetime | None = None
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    object_permission: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_nulls(cls, values: Any) -> Any:
        # Upstream writes these defaults into its input before it validates: that is where the
        # puzzling 'teams': [] at the end of the log line comes from.
        if isinstance(values, dict):
            if values.get("spend") is None:
                values["spend"] = 0.0
            for name in ("models", "teams"):
                if values.get(name) is None:
                    values[name] = []
        return values


class UserOptionalId(User):
    """The issue's first proposal: a reader that does not require ``user_id``."""

    model_config = ConfigDict(title="LiteLLM_UserTable")

    user_id: str | None = None  # type: ignore[assignment]  # the proposal loosens the base's rule


class Team(CachedObject):
    """A team row."""

    model_config = ConfigDict(title="LiteLLM_TeamTableCachedObj")

    team_alias: str | None = None
    team_id: str
    organization_id: str | None = None
    admins: list[str] = Field(default_factory=list)
    members: list[str] = Field(default_factory=list)
    members_with_roles: list[dict[str, Any]] = Field(default_factory=list)
    team_member_permissions: list[str] | None = None
    metadata: dict[str, Any] | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    max_budget: float | None = None
    soft_budget: float | None = None
    budget_duration: str | None = None
    budget_limits: list[dict[str, Any]] | None = None
    models: list[str] = Field(default_factory=list)
    blocked: bool = False
    router_settings: dict[str, Any] | None = None
    access_group_ids: list[str] | None = None
    default_team_member_models: list[str] | None = None
    spend: float | None = None
    max_parallel_requests: int | None = None
    budget_reset_at: datetime | None = None
    model_id: int | None = None
    litellm_model_table: dict[str, Any] | None = None
    object_permission: dict[str, Any] | None = None
    updated_at: datetime | None = None
    created_at: datetime | None = None
    object_permission_id: str | None = None
    last_refreshed_at: float | None = None


class Membership(CachedObject):
    """A user's place in a team. Up to 1.88 the budget may be None but not missing."""

    model_config = ConfigDict(title="LiteLLM_TeamMembership")

    user_id: str
    team_id: str
    budget_id: str | None = None
    spend: float | None = 0.0
    total_spend: float | None = 0.0
    litellm_budget_table: Budget | None

    @property
    def budget_max(self) -> float | None:
        """The member's own budget in US dollars, None where it has none."""
        return None if self.litellm_budget_table is None else self.litellm_budget_table.max_budget


class MembershipDefaultNone(Membership):
    """The rule from 1.89 on: a missing budget is None."""

    model_config = ConfigDict(title="LiteLLM_TeamMembership")

    litellm_budget_table: Budget | None = None


MODELS: dict[ObjectKind, type[CachedObject]] = {
    ObjectKind.KEY: Key,
    ObjectKind.USER: User,
    ObjectKind.TEAM: Team,
    ObjectKind.MEMBERSHIP: Membership,
}
"""The model of each object, for writing and, by the rules of 1.84, for reading."""


def limit_fields(value: CachedObject) -> Mapping[str, Any]:
    """The fields that `harness.authcache.digest.digest` looks at, by name; do not modify it."""
    if isinstance(value, Membership):
        return {**value.__dict__, "budget_max": value.budget_max}
    return value.__dict__
