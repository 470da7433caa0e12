"""Messages between the harness and the load driver: one JSON object per line.

The driver is a process of its own (Locust is gevent, the harness asyncio). It reads commands on
standard input, answers on standard output, and logs on standard error. End of input ends it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.domain.faults import Balancer


def warmup_name(window: str) -> str:
    """The name of the stretch of load before a window; also names its samples."""
    return f"{window}-warmup"


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SingleProbe(_Message):
    """One request at a moment of its own."""

    key: int
    """Index into the keys file."""
    replica: int
    """Index into the hosts."""
    at_s: float
    """Since the start of the window."""


class WindowCommand(_Message):
    """Drive one stretch of load against one fleet and report the result."""

    command: Literal["window"] = "window"
    window: str
    """Name of the window; also names its samples file."""
    hosts: list[str]
    """Base URLs of the replicas, without a trailing slash."""
    keys_file: str
    """JSON written by `harness.domain.population.write_keys`."""
    model: Literal["open", "closed"]
    duration_s: float
    mix: dict[str, float]
    """Weight by key scope."""
    key_weights: list[float] = []
    """Weights of a scope's keys, by `harness.domain.rates.key_shares`."""
    zipf: float = 0.0
    """Exponent of the keys' popularity within each scope; 0: all alike."""
    refusals: bool = False
    """Drive the keys that test refusals, not the ordinary ones."""
    users: int
    """Locust users: the pool that takes arrivals (open model), or the load (closed model)."""
    rate_per_s: float = 0.0
    """Open model: arrivals per second over all scopes, a seeded Poisson process."""
    stagger_s: float = 0.0
    """Open model: the requests of each key begin at a moment of its own, within this time."""
    ramp_s: float = 0.0
    """Closed model: time over which the users start."""
    seed: int
    late_ms: float = 250.0
    """A request that starts later than this after its intended time counts as late."""
    timeout_s: float = 10.0
    samples_file: str | None = None
    """Where the raw samples go (gzip CSV); None keeps none."""
    probe_keys: list[int] = []
    """Indices of keys to probe; a window with probes drives nothing else, unless `beside`."""
    probe_every_s: float = 0.0
    """Each of these keys is requested this often on each worker, regularly."""
    single_probes: list[SingleProbe] = []
    """Requests beside those, in any order; a window with them, too, drives nothing else."""
    workers: int = 1
    """Workers of a replica: its address is probed so many times as often."""
    beside: bool = False
    """Drive the mix too, with the probes among its arrivals."""
    balancer: Balancer = "blind"
    """Whether requests go to another replica while theirs does not answer."""
    drop_after_s: float = 0.0
    """``probed``: after how long without an answer a replica is left out."""
    health_path: str = ""
    """``probed``: what each replica is asked for, once a second; any answer will do."""


class Shutdown(_Message):
    """End the driver."""

    command: Literal["shutdown"] = "shutdown"


class Begun(_Message):
    """Sent when a window begins: changes are timed by it."""

    event: Literal["begun"] = "begun"
    window: str
    monotonic_s: float
    """The start of the window on the monotonic clock, which all processes of a machine share."""


class LoadProgress(_Message):
    """Sent once a second while a window runs."""

    event: Literal["progress"] = "progress"
    window: str
    elapsed_s: float
    answered: int
    failed: int
    requests_per_s: float
    """Over the last second."""
    due: int = 0
    """Requests whose intended time has come; in the closed model requests started."""
    late: int = 0
    delay_ms_max: float = 0.0
    statuses: dict[str, dict[str, int]] = {}
    """Answered requests by scope and HTTP status."""


class ServedCount(_Message):
    """How often one key was served one digest of one object from one tier."""

    scope: str
    key_index: int
    """Index into the keys file."""
    object: str
    tier: str
    digest: str
    count: int
    age_ms_max: int | None


class KeyCount(_Message):
    """What one key's requests came to."""

    scope: str
    key_index: int
    """Index into the keys file."""
    answered: int
    admitted: int
    """2xx replies."""
    cost_micro: int
    """Sum of the cost header over 2xx replies, in millionths of a US dollar."""
    named: dict[str, int]
    """2xx replies that named an object at least once in the served header, by object."""


class WindowResult(_Message):
    """What the generator counted in one window."""

    event: Literal["result"] = "result"
    window: str
    planned: int
    """Arrivals in the plan (open model) or requests started (closed model)."""
    sent: int
    answered: int
    unanswered: dict[str, int]
    """By kind of transport error, e.g. ``timeout``, ``connection_refused``."""
    late: int
    delay_ms_max: float
    """Greatest distance between intended and actual start."""
    delay_ms_median: float = 0.0
    """Median of that distance over all requests sent; 0 in results without it."""
    statuses: dict[str, dict[str, int]]
    """Answered requests by scope and HTTP status."""
    statuses_by_key: dict[int, dict[str, int]] = {}
    """The same by index into the keys file and HTTP status."""
    cost_micro: int
    """Sum of the cost header over 2xx replies, in millionths of a US dollar."""
    served: list[ServedCount]
    keys: list[KeyCount] = []
    """Every key that got a reply."""
    replicas: list[int]
    """Requests sent to each host, in the order of ``hosts``."""
    elapsed_s: float
    cpu_s: float
    """CPU time of the driver in this window."""


class Failed(_Message):
    """The driver could not run a command; it keeps running."""

    event: Literal["failed"] = "failed"
    message: str


class Ready(_Message):
    """Sent once, when the driver takes commands."""

    event: Literal["ready"] = "ready"


Command = Annotated[WindowCommand | Shutdown, Field(discriminator="command")]
Event = Annotated[
    Begun | LoadProgress | WindowResult | Failed | Ready, Field(discriminator="event")
]

COMMAND: TypeAdapter[Command] = TypeAdapter(Command)
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
