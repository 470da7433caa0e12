"""A LiteLLM as a target: a release, or what is laid over one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.errors import SetupError
from harness.targets.base import (
    Call,
    ContainerContext,
    ContainerSpec,
    Origin,
    ProcessSpec,
    ReplicaContext,
    Target,
)
from harness.targets.litellm.environment import Environment
from harness.targets.litellm.inside.origin import native_files
from harness.targets.litellm.inside.settings import BOOT, Settings
from harness.targets.litellm.migrations import migrate
from harness.targets.litellm.own_config import OwnConfig
from harness.targets.litellm.releases import PROJECT, Release, covers
from harness.targets.litellm.snapshot import Laid, SourceRecord
from harness.targets.schema import management
from harness.targets.schema.database import LiteLLMDatabase
from harness.targets.schema.statements import RELEASE_OTHERS
from harness.targets.schema.truth import STATUSES
from harness.targets.settings import replica_env

_SHARED_REDIS = (
    "spend counters, rate limiter and Lua scripts of the release share the Redis with the auth "
    "cache, and the server counts them all"
)
_NO_REDIS_TIER = (
    "the release attaches Redis to its internal usage cache and not to the auth cache, whose "
    "misses do not ask Redis"
)
_PREFETCH = (
    "the release prefetches objects from Redis in one MGET, before a lookup has missed memory"
)
_OWN_CACHES = (
    "the release's own caches count a lookup once, when it ends, and its auth path differs from "
    "release to release"
)
_OWN_READERS = "which of its failed reads a release logs as a pair cannot be seen from outside"
WITHOUT_REDIS = "litellm<1.84.0rc1"
"""Releases whose auth cache is in memory alone."""
NOT_CHECKED: tuple[tuple[str, str, str], ...] = (
    ("litellm>=0", "memory", _OWN_CACHES),
    ("litellm>=0", "redis_gets", _SHARED_REDIS),
    ("litellm>=0", "redis_writes", _SHARED_REDIS),
    ("litellm>=0", "pairs", _OWN_READERS),
    (WITHOUT_REDIS, "redis_lookups", _NO_REDIS_TIER),
    ("litellm>=1.102", "redis_lookups", _PREFETCH),
)
"""Releases, the equation that does not hold for them, and why."""

_UP_TO_1_84 = {"expired": 400, "wrong_model": 401} | {
    why: 400 for why in STATUSES if why.endswith(("_budget", "_zero"))
}
_FROM_1_104 = dict.fromkeys(
    (why for why in STATUSES if why.endswith(("_budget", "_zero"))),
    422,
)
REFUSALS: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("litellm<1.85", _UP_TO_1_84),
    ("litellm>=1.104", _FROM_1_104),
)
"""Releases, and the statuses of their refusals where they differ from the reference proxy's.

Seen in runs of 1.84.0rc1 and 1.94.0; the border is by the code of 1.84.10 and 1.85.0
(auth_exception_handler.py, auth_checks.py, user_api_key_auth.py). A used-up budget is 422 in runs
of 1.105.7; the border is by ``budget_exceeded_status_code``: 1.104.0 has it, 1.103.11 does not.
"""


NOT_THERE: tuple[tuple[str, str, str], ...] = (
    ("litellm>=0", "key-regenerate", "it needs an enterprise licence and answers 500 without one"),
)
"""Releases, an action that cannot be had from their API, and why.

Every other action was answered 200 by 1.92.2, 1.94.0 and 1.105.7, and Postgres held the change.
"""

_KEY_CHANGES = frozenset(
    f"key-{what}"
    for what in ("block", "unblock", "regenerate", "models", "budget", "budget-raised", "limits")
) | {"key-blocked"}
_MEMBER_UPDATES = frozenset({"member-budget", "member-budget-set", "member-budget-cleared"})
JOINT_READS = "litellm>=1.102"
"""Releases that read user, team and membership by one statement, seen in 1.105.7 and 1.109.1; by
its code 1.102.4 prefetches too."""
BROADCASTS: tuple[tuple[str, frozenset[str]], ...] = (
    ("litellm>=1.98.1", frozenset({"team-delete"})),
    ("litellm>=1.100.5", _KEY_CHANGES | _MEMBER_UPDATES),
    ("litellm>=1.102.4", frozenset({"user-models", "user-limits"})),
    ("litellm>=1.104.9", frozenset({"user-delete", "member-remove"})),
    ("litellm>=1.108.14", frozenset({"team-models", "team-limits"})),
    ("litellm>=1.109.1", frozenset({"team-block", "team-unblock", "key-delete"})),
)
"""Releases, and the actions of which they inform the other workers, as their code reads.

Wheels were read one after another; releases between them were not. New keys are in no row: no
worker has a copy of one.
"""
WRITTEN_FOR: tuple[tuple[str, float], ...] = (("litellm<1.91", 60.0),)
"""Releases, and the TTL in s that they give to keys, users and teams, whatever
``user_api_key_cache_ttl`` says; a variable changes it (`RunSettings.management_ttl`).

By the code of 1.83.14, 1.84.0rc1, 1.88.6, 1.90.0 (auth_checks.py) and of 1.91.0, which asks
``get_management_object_ttl``.
"""
BACKFILL: tuple[tuple[str, float], ...] = (("litellm>=1.84.0rc1,<1.94", 600.0),)
"""Releases, and how long in s what they take from Redis stays in memory.

By the code of 1.84.0rc1, 1.92.2, 1.93.0 and of 1.94.0 (dual_cache.py, ``_backfill_kwargs``), and in
runs, as `backfill_ttl_s`.
"""


def refusal_statuses(release: str) -> dict[str, int]:
    """The status that a release, by its variant's name, gives to each refusal."""
    found = dict(STATUSES)
    for releases, statuses in REFUSALS:
        if covers(releases, release):
            found |= statuses
    return found


class LiteLLMTarget(Target):
    """Runs one release's complete proxy.

    Args:
        release: the release to run, or of the version that is laid over the environment.
        environment: where it is installed.
        real_prisma: use the `prisma` of the environment and its engine, not our stand-in.
        laid: a tree or a wheel that runs in the environment; None runs the release.
        own: a configuration of the user's own.

    Raises:
        SetupError: ``real_prisma`` where the environment has no engine.
    """

    kind = "litellm"
    uses_redis = True
    readiness_path = "/health/readiness"
    ready_timeout_s = 300.0
    """Sixteen replicas that start at once on two cores import 2,800 modules each."""

    findings = frozenset({"key_spend", "served", "source_reads", "direct", "all_statements"})
    """A release can lose spend: 1.84.0rc1 does where flushes of two replicas deadlock. It may use
    what none of its caches held, read without a lookup, take another lookup's answer (two
    memberships in a window of 1.109.1), and send statements that no list of ours has."""
    loses_spend = frozenset(ObjectKind)
    takes_premises = False
    pace_share = 0.6
    notes: tuple[str, ...] = (
        (
            "A LiteLLM release takes part, so times are not scaled. At rest, before each snapshot, "
            "a release's own job writes its spend at once rather than at its next turn. The age of "
            "the entries that a release serves cannot be seen from outside."
        ),
    )

    def __init__(
        self,
        release: Release,
        environment: Environment,
        *,
        real_prisma: bool = False,
        laid: Laid | None = None,
        own: OwnConfig | None = None,
    ) -> None:
        if real_prisma and not environment.has_prisma_engine:
            raise SetupError(
                f"LITELLM_PRISMA=real needs Prisma's engine, but the environment of "
                f"[{release.name}] has none. Leave the variable out to use the stand-in."
            )
        self.version = release.version
        self.release = release
        self._database = LiteLLMDatabase(RELEASE_OTHERS, refusal_statuses(release.name))
        self.hard_coded = release.hard_coded
        self.not_checked = {
            equation: cause
            for releases, equation, cause in NOT_CHECKED
            if covers(releases, release.name)
        }
        self.names_reads = not covers(JOINT_READS, release.name)
        self._environment = environment
        self._real_prisma = real_prisma
        self._laid = None if laid is None else laid.snapshot
        self._packages = {} if laid is None else laid.packages
        self._own = own
        site = environment.site_packages if laid is None else laid.folder
        native = bool(native_files(site / PROJECT))
        self.origin = Origin(str(site), native, "" if laid is None else laid.snapshot.digest)
        self.source = _source(self._laid, environment.version, native=native)
        if relaxed := environment.record.relaxed:
            self.notes = (
                *self.notes,
                f"{release.name} runs with packages other than it requires: {'; '.join(relaxed)}.",
            )
        if self._laid is not None:
            self.notes = (*self.notes, _laid_note(self._laid))
        if own is not None:
            self.notes = (*self.notes, *own.notes)

    @property
    def database(self) -> LiteLLMDatabase:
        """LiteLLM's tables, with the release's own statuses."""
        return self._database

    async def prepare_database(self, dsn: str) -> None:
        """Run the release's own migrations. Raises SetupError."""
        extras = self._packages.get("litellm_proxy_extras")
        await migrate(
            dsn, Path(extras, "migrations") if extras else self._environment.extras_migrations
        )

    def process(self, context: ReplicaContext) -> ProcessSpec:
        """One replica of the release."""
        settings = self._settings(
            context,
            redis_namespace=context.redis_namespace,
            replica=context.replica,
            real_prisma=self._real_prisma,
            installed=self._environment.version,
            laid=self._packages,
            config={} if self._own is None else self._own.content,
            keep_callbacks=self._own is not None and self._own.keep_callbacks,
        )
        argv = [str(self._environment.python), "-P", str(BOOT)]
        argv += ["--listen-fd", str(context.listen_fd)]
        for fd in context.metrics_fds:
            argv += ["--metrics-fd", str(fd)]
        named = {} if self._own is None else self._own.variables
        env = {**named, **replica_env(settings, context.master_key)}
        return ProcessSpec(tuple(argv), env, other_python=True)

    def payload_reader(self) -> ProcessSpec | None:
        """The release's codec and models, in its environment; None before 1.84 and for a source."""
        if self._laid is not None or not self.uses_redis:
            return None
        script = str(BOOT.with_name("read_payloads.py"))
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
        return ProcessSpec((str(self._environment.python), "-P", script), env, other_python=True)

    def container(self, context: ContainerContext) -> ContainerSpec:
        """Every replica of a fleet in containers of the official image, with its own Prisma.

        Raises:
            SetupError: it is not a release, or has a configuration of the user's own.
        """
        if self._laid is not None or self._own is not None:
            raise SetupError(
                f"[{context.fleet}] cannot run in containers: their image holds a release with "
                "the harness's own settings. Use STACK=embedded."
            )
        settings = self._settings(context, real_prisma=True)
        command = ["python", "-m", "harness.targets.litellm.inside.serve", "--host", "0.0.0.0"]
        command += ["--port", str(context.port), "--metrics-port", str(context.metrics_port)]
        command += ["--workers", str(context.workers)]
        return ContainerSpec(tuple(command), replica_env(settings, context.master_key))

    def call(self, action: str, key: VirtualKey, number: int) -> Call | None:
        """See `harness.targets.schema.management`; None for what is `NOT_THERE`."""
        if any(what == action and covers(one, self.release.name) for one, what, _ in NOT_THERE):
            return None
        return management.call(action, key, number)

    def broadcasts(self, action: str) -> bool | None:
        """See `BROADCASTS`."""
        ranges = [releases for releases, actions in BROADCASTS if action in actions]
        return any(covers(one, self.release.name) for one in ranges) if ranges else None

    def kept_by_code_s(
        self, ttl_s: float, *, time_scale: float = 1.0, management_ttl: bool = False
    ) -> float:
        """As the code has it: one TTL in Redis, and in memory that of what is taken from there."""
        del time_scale  # Times of a release are never scaled.
        fixed_s = _of_release(WRITTEN_FOR, self.release.name, ttl_s)
        written_s = ttl_s if management_ttl else fixed_s
        if covers(WITHOUT_REDIS, self.release.name):
            return written_s
        return written_s + _of_release(BACKFILL, self.release.name, ttl_s)

    def describe(self) -> Mapping[str, Any]:
        """In place of switches: the release, its Prisma client, and what it lacks, if anything."""
        prisma = "the environment's own" if self._real_prisma else "stand-in over asyncpg"
        relaxed = "; ".join(self._environment.record.relaxed)
        named = {"release": self.version} if self._laid is None else _named(self._laid)
        described = {**named, "prisma": prisma}
        if self._own is not None:
            described["config"] = f"{self._own.name} (sha256 {self._own.digest[:12]})"
        return described | ({"relaxed": relaxed} if relaxed else {})

    def _settings(self, context: ReplicaContext | ContainerContext, **places: Any) -> Settings:
        _check_redis(context.redis_url)
        return Settings(
            **asdict(context.settings),
            variant=context.fleet,
            version=self.version,
            dsn=context.dsn,
            redis_url=context.redis_url,
            **places,
        )


def _source(laid: SourceRecord | None, environment: str, *, native: bool) -> dict[str, Any]:
    """Where the code comes from, as `harness.domain.result.SourceResult`."""
    if laid is None:
        laid_over = None
        kept: dict[str, Any] = {"kind": "release", "name": f"{PROJECT}=={environment}"}
    else:
        laid_over = laid.environment
        kept = {
            "kind": laid.kind,
            "name": laid.name,
            "identity": laid.identity,
            "uncommitted": laid.uncommitted,
            "digest": laid.digest,
        }
    return {**kept, "laid_over": laid_over, "native": native}


def _named(laid: SourceRecord) -> dict[str, str]:
    at = f"sha256 {laid.identity[:12]}" if laid.kind == "wheel" else laid.identity[:12]
    changed = f" and {laid.uncommitted} files not committed" if laid.uncommitted else ""
    return {
        laid.kind: f"{laid.name} at {at}{changed}",
        "version": laid.version,
        "environment": laid.environment,
        "digest": laid.digest[:12],
    }


def _laid_note(laid: SourceRecord) -> str:
    whose = {
        "own": "its native file is its own",
        "environment": f"its native file is that of {laid.environment}",
        "none": "it has no native file",
    }[laid.native]
    return (
        f"{laid.name} is a {laid.kind} of version {laid.version}, laid over the environment of "
        f"{laid.environment}; {whose}. It is judged by the rules for releases of its version."
    )


def _of_release(table: tuple[tuple[str, float], ...], release: str, otherwise: float) -> float:
    return next((value for releases, value in table if covers(releases, release)), otherwise)


def _check_redis(url: str | None) -> None:
    """Refuse a URL that a release's configuration cannot express: it would run without Redis."""
    parts = urlsplit(url or "")
    # Names alone: a value may be a password.
    options = ", ".join(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "unix" or options:
        what = f"has the options [{options}]" if options else "is a socket"
        raise SetupError(
            "A LiteLLM release takes only host, port, user, password, database and TLS of a Redis; "
            f"REDIS_URL {what}. Give an address as rediss://user:password@host:port/0, or leave "
            "the releases out."
        )
