"""The configuration that a release's proxy starts with, as its operator would write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.targets.litellm.inside.settings import Settings
from harness.targets.litellm.inside.user_config import merge

MANAGEMENT_TTL = "DEFAULT_MANAGEMENT_OBJECT_IN_MEMORY_CACHE_TTL"
"""Releases before 1.91 take the TTL of keys, users and teams from it, and from no setting."""
_MOCK_PROMPT_TOKENS_COST = 0.0
_MICRO = 1_000_000
MOCK_COMPLETION_TOKENS = 20
"""What LiteLLM's mock reply reports, whatever its text (litellm/constants.py)."""


def proxy_config(settings: Settings, master_key: str) -> dict[str, Any]:
    """The configuration file, as data.

    The Redis client is set up through the response cache, which caches no call type: that is how
    a proxy gets a Redis at all. ``enable_redis_auth_cache`` came with 1.84; earlier releases do
    not know it and keep the auth cache in memory.
    """
    config: dict[str, Any] = {
        "model_list": [_model(settings)],
        "general_settings": {
            "master_key": master_key,
            "user_api_key_cache_ttl": settings.ttl_s,
        },
        "litellm_settings": {"telemetry": False},
    }
    if settings.redis_url is not None:
        config["litellm_settings"] |= {
            "cache": True,
            "cache_params": _redis(settings.redis_url, settings.redis_namespace),
            "enable_redis_auth_cache": True,
        }
    if settings.config:
        return merge(settings.config, config, keep_callbacks=settings.keep_callbacks).config
    return config


def environment(settings: Settings, config_file: str) -> Mapping[str, str]:
    """Environment variables that the proxy reads while it is imported and starts."""
    management = {MANAGEMENT_TTL: str(max(1, round(settings.ttl_s)))}
    return (management if settings.management_ttl else {}) | {
        "CONFIG_FILE_PATH": config_file,
        "DATABASE_URL": settings.dsn,
        "DISABLE_SCHEMA_UPDATE": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "WARNING",
        "PRISMA_HEALTH_WATCHDOG_ENABLED": "false",
        "NO_DOCS": "True",
    }


def _model(settings: Settings) -> dict[str, Any]:
    params: dict[str, Any] = {
        "model": f"openai/{settings.model}",
        "api_key": "unused",
        "mock_response": "Hello from the mock model.",
    }
    info = {
        # A whole number of millionths a reply, so that spend can be compared exactly. A price among
        # the parameters would be registered again with every request.
        "input_cost_per_token": _MOCK_PROMPT_TOKENS_COST,
        "output_cost_per_token": settings.cost_micro / MOCK_COMPLETION_TOKENS / _MICRO,
    }
    if settings.mock_latency_ms:
        params["mock_delay"] = settings.mock_latency_ms / 1000
    return {"model_name": settings.model, "litellm_params": params, "model_info": info}


def _redis(url: str, namespace: str) -> dict[str, Any]:
    parts = urlsplit(url)
    params: dict[str, Any] = {
        "type": "redis",
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 6379,
        "supported_call_types": [],
    }
    if parts.scheme == "rediss":
        params["ssl"] = True
    if parts.password:
        params["password"] = unquote(parts.password)
    if parts.username:
        params["username"] = unquote(parts.username)
    if parts.path.strip("/"):
        params["db"] = int(parts.path.strip("/"))
    if namespace:
        params["namespace"] = namespace
    return params
