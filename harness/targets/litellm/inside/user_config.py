"""A configuration of the user's own, under what the harness sets.

The harness owns what a run depends on: database, Redis, master key, the mock model and its price,
the TTL, and how a key is authenticated. The load must reach no real service: every model replies
with a mock, and what calls another service is off unless it is asked for. Standard library only:
the list of what was overridden is made outside, the configuration inside a release's environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

GENERAL, LITELLM, ROUTER = "general_settings", "litellm_settings", "router_settings"
MODELS = "model_list"
VARIABLES = "environment_variables"
REFERENCE = "os.environ/"
"""Begins a value that names an environment variable."""

_OWNED: Mapping[str, tuple[str, ...]] = {
    GENERAL: (
        *("master_key", "database_", "user_api_key_cache_ttl", "store_model_in_db"),
        *("custom_auth", "custom_sso", "enable_jwt_auth", "enable_oauth2_auth"),
        *("enable_oauth2_proxy_auth", "litellm_jwtauth", "litellm_key_header_name"),
        *("key_management_s", "use_google_kms", "use_azure_key_vault", "litellm_license"),
        *("background_health_checks", "health_check_", "enable_health_check_routing"),
        *("use_shared_health_check", "disable_spend_updates", "coordination_redis"),
        *("completion_model", "control_plane_url"),
    ),
    LITELLM: ("cache", "enable_redis_auth_cache", "telemetry", "set_verbose"),
    ROUTER: ("redis_", "cache_", "set_verbose", "debug_level", "enable_health_check_routing"),
}
"""Settings by section, by the beginnings of their names, that the harness sets or leaves out.

``completion_model`` would replace the mock model. A licence is checked over the network, and a
verbose log holds secrets.
"""
_CALLS_OUT: Mapping[str, tuple[str, ...]] = {
    GENERAL: (
        *("alert", "pass_through_endpoints", "infer_model_from_keys", "otel", "tracing"),
        *("custom_", "plugins", "spend_report_frequency"),
    ),
    LITELLM: (
        *("callbacks", "success_callback", "failure_callback", "input_callback"),
        *("service_callback", "audit_log_callbacks", "callback_settings", "guardrails"),
        *("default_team_settings", "post_call_rules", "pre_call_rules", "s3_callback_params"),
        *("langfuse_", "prometheus_", "custom_provider_map", "mcp_semantic_tool_filter"),
        *("global_prompt_directory", "global_bitbucket_config", "global_gitlab_config"),
        *("websearch_interception", "cold_storage", "aws_sqs_callback_params"),
    ),
    ROUTER: ("alerting_config", "plugins", "guardrail_list", "search_tools", "assistants_config"),
}
"""Settings that may call another service, or that name code of the user's own, which may."""
_CALLING_SECTIONS = (
    *("guardrails", "callback_settings", "mcp_servers", "mcp_tools", "prompts", "agents"),
    *("vector_store_registry", "search_tools", "policies", "policy_attachments", "agent_list"),
    *("sandbox_tools", "worker_registry"),
)
_OWNED_VARIABLES = (
    *("DATABASE_", "DIRECT_URL", "REDIS_", "LITELLM_", "CONFIG_FILE_PATH", "PYTHON", "AUTHCACHE_"),
    *("STORE_MODEL_IN_DB", "DISABLE_SCHEMA_UPDATE", "PRISMA_", "IAM_TOKEN_DB_AUTH"),
    *("DEFAULT_MANAGEMENT_OBJECT_", "SERVER_ROOT_PATH"),
)
"""Beginnings of the names of variables that the harness sets, or that would change what runs."""
_ALIASES = "model_group_alias"


_EMPTY = (ROUTER, VARIABLES)
"""Sections that are left out where they are empty."""


class Merged(NamedTuple):
    """A merged configuration, and the names of what is not as the user has it. Never a value."""

    config: dict[str, Any]
    overridden: tuple[str, ...]
    """Settings that the harness owns."""
    off: tuple[str, ...]
    """Settings that call other services."""
    kept: tuple[str, ...]
    """Settings that call other services and stay on."""
    mocked: tuple[str, ...]
    """Models that are given a mock reply."""


def merge(user: Mapping[str, Any], ours: Mapping[str, Any], *, keep_callbacks: bool) -> Merged:
    """The user's configuration, under ours.

    Args:
        user: the content of the file.
        ours: as `proxy_config` makes it.
        keep_callbacks: whether what calls other services stays on.
    """
    config: dict[str, Any] = dict(user)
    overridden: list[str] = []
    calling: list[str] = []
    for section in (GENERAL, LITELLM, ROUTER):
        mine, out, calls = _sorted_out(section, user.get(section) or {}, ours.get(section, {}))
        overridden += [f"{section}.{name}" for name in out]
        calling += [f"{section}.{name}" for name in calls]
        config[section] = {**mine, **(calls if keep_callbacks else {}), **ours.get(section, {})}
    for section in _CALLING_SECTIONS:
        if section in user:
            calling.append(section)
            if not keep_callbacks:
                del config[section]
    variables = user.get(VARIABLES) or {}
    owned = [name for name in variables if owned_variable(name)]
    overridden += [f"{VARIABLES}.{name}" for name in owned]
    config[VARIABLES] = {name: value for name, value in variables.items() if name not in owned}
    reply = ours[MODELS][0]["litellm_params"]["mock_response"]
    names = {model["model_name"] for model in ours[MODELS]}
    theirs = user.get(MODELS) or []
    config[MODELS] = [*ours[MODELS]]
    mocked: list[str] = []
    for model in theirs:
        name = str(model.get("model_name"))
        if name in names:
            overridden.append(f"{MODELS}.{name}")
            continue
        params = model.get("litellm_params") or {}
        if "mock_response" not in params:
            # An alias or a fallback may lead to any model, and none may be called.
            params = {**params, "mock_response": reply}
            mocked.append(name)
        config[MODELS].append({**model, "litellm_params": params})
    aliases = config[ROUTER].get(_ALIASES)
    if isinstance(aliases, Mapping) and names & aliases.keys():
        overridden += [f"{ROUTER}.{_ALIASES}.{name}" for name in aliases if name in names]
        rest = {name: value for name, value in aliases.items() if name not in names}
        config[ROUTER] = {**config[ROUTER], _ALIASES: rest}
    config = {name: value for name, value in config.items() if value or name not in _EMPTY}
    off, kept = ((), tuple(calling)) if keep_callbacks else (tuple(calling), ())
    return Merged(config, tuple(overridden), off, kept, tuple(dict.fromkeys(mocked)))


def _sorted_out(
    section: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings of a section: those that stay, those that the harness owns, those that call out."""
    mine: dict[str, Any] = {}
    owned: dict[str, Any] = {}
    calls: dict[str, Any] = {}
    for name, value in theirs.items():
        if name in ours or name.startswith(_OWNED[section]):
            owned[name] = value
        elif name.startswith(_CALLS_OUT[section]):
            calls[name] = value
        else:
            mine[name] = value
    return mine, owned, calls


def variables_named(value: Any) -> Iterator[str]:
    """The environment variables that a configuration names, in its order; some more than once."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from variables_named(part)
    elif isinstance(value, list):
        for part in value:
            yield from variables_named(part)
    elif isinstance(value, str) and value.startswith(REFERENCE):
        yield value.removeprefix(REFERENCE)


def owned_variable(name: str) -> bool:
    """Whether the harness sets a variable itself, or keeps it from a replica."""
    return name.upper().startswith(_OWNED_VARIABLES)
