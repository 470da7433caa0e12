"""A key object of the size that LiteLLM's have: every kind of field, about 2.3 KB as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness.authcache.objects import Key
from harness.domain.series import CHAT_ROUTE

_NOON = datetime(2026, 1, 15, 12, 30, 15, 250_000, tzinfo=UTC)
_MODELS = ["gpt-4o", "gpt-4o-mini", "claude-sonnet", "text-embedding-3-large"]
_LIMITS = {"gpt-4o": 1000, "claude-sonnet": 500}


def sample_key() -> Key:
    """A key of a user in a team of an organization, with budgets, limits and metadata."""
    return Key(
        token="8f5c2b1e" * 8,
        key_name="sk-...4f2a",
        key_alias="checkout-service-production",
        spend=12.345678,
        max_budget=500.0,
        expires=_NOON + timedelta(days=90),
        models=_MODELS,
        aliases={"fast": "gpt-4o-mini"},
        config={},
        user_id="5d1f0c9e-6f0a-4d55-9b43-2f3c8e7a1b60",
        team_id="c0a8012e-94f7-4a30-8a6b-7d2e5f9b3c11",
        max_parallel_requests=64,
        metadata={"service": "checkout", "environment": "production", "owner": "payments"},
        tpm_limit=200_000,
        rpm_limit=2_000,
        budget_duration="30d",
        budget_reset_at=_NOON + timedelta(days=15),
        allowed_cache_controls=["no-cache", "no-store"],
        allowed_routes=[CHAT_ROUTE, "/v1/embeddings"],
        permissions={"get_spend_routes": True},
        model_spend={"gpt-4o": 8.25, "claude-sonnet": 4.09},
        model_max_budget={"gpt-4o": {"budget_limit": 100.0, "time_period": "30d"}},
        soft_budget_cooldown=False,
        blocked=False,
        org_id="9b7d6c5a-1e2f-4a3b-8c4d-0f1e2d3c4b5a",
        created_at=_NOON - timedelta(days=120),
        created_by="5d1f0c9e-6f0a-4d55-9b43-2f3c8e7a1b60",
        updated_at=_NOON,
        updated_by="5d1f0c9e-6f0a-4d55-9b43-2f3c8e7a1b60",
        last_active=_NOON,
        access_group_ids=["payments", "checkout"],
        rotation_count=3,
        auto_rotate=True,
        rotation_interval="90d",
        last_rotation_at=_NOON - timedelta(days=30),
        team_spend=1_234.5678,
        team_alias="payments",
        team_tpm_limit=2_000_000,
        team_rpm_limit=20_000,
        team_max_budget=10_000.0,
        team_soft_budget=8_000.0,
        team_models=_MODELS,
        team_blocked=False,
        soft_budget=400.0,
        team_model_aliases={"fast": "gpt-4o-mini"},
        team_member={"user_id": "5d1f0c9e-6f0a-4d55-9b43-2f3c8e7a1b60", "role": "admin"},
        team_metadata={"cost_center": "4711", "tier": "gold"},
        team_member_spend=3.25,
        team_member_tpm_limit=100_000,
        team_member_rpm_limit=1_000,
        last_refreshed_at=1_768_480_215.25,
        api_key="8f5c2b1e" * 8,
        user_role="internal_user",
        rpm_limit_per_model=_LIMITS,
        tpm_limit_per_model=_LIMITS,
        user_email="checkout@example.com",
    )
