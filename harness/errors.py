"""One tree of errors.

HarnessError                     everything the harness raises on purpose
├── UsageError                   exit 2: the caller asked for something that cannot be done
│   ├── UnknownNameError         a variant, scenario, switch, codec or run that does not exist
│   ├── ScenarioError            a scenario or variants file with a wrong type, field or size
│   ├── CodecLoadError           a user's codec that cannot be imported, or whose name is taken
│   ├── RefusedReleaseError      LiteLLM 1.107, which is compromised
│   └── SetupError               a server, port or binary that this machine lacks
├── InvalidRunError              exit 4: the run happened, but its numbers cannot be trusted
│   ├── TooSlowError             a release sustains less load than any run needs
│   ├── ServerDiedError          a replica or server exited unexpectedly
│   └── NotQuiescentError        work was still pending when a snapshot was due
├── StoppedError                 exit 128 + n: signal n came before anything ran (process.stop)
└── CodecError                   raised inside authcache, never shown to the user as such
    ├── EncodeError              an object that the codec cannot encode
    └── DecodeError              a payload that does not decode to the requested type
        └── ForeignPayloadError  a payload that names another type or schema (authcache.codecs)

Every message says what happened, the value in brackets, and what to do next.

These are not HarnessErrors: the part that raises them also catches them, and a command that reports
HarnessErrors must not report them:

authcache.cache.SourceUnavailableError   Postgres did not answer; the proxy replies 503
authcache.tiers.RedisUnavailableError    Redis did not answer; the cache continues as after a miss
targets.litellm.uv.UvError               uv failed; `install` and `resolve` add the release
targets.reference.problems.ApiError      has its own tree: replies of the proxy, by status
ui.sources.StatusError                   a page of a worker was not a 200; a line in the tab
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

EXIT_PASS = 0
EXIT_REGRESSION = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_INVALID = 4
EXIT_HUNG_UP = 129
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class HarnessError(Exception):
    """Base of all errors that the harness raises on purpose."""

    exit_code = EXIT_INVALID


class UsageError(HarnessError):
    """The caller asked for something that cannot be done."""

    exit_code = EXIT_USAGE


class UnknownNameError(UsageError):
    """A name that is in no registry; the message suggests the nearest one."""

    def __init__(self, noun: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        suggestion = f" Did you mean [{near[0]}]?" if near else ""
        tail = f" {hint}" if hint else ""
        super().__init__(
            f"There is no {noun} [{name}].{suggestion} Known: {', '.join(names) or 'none'}.{tail}"
        )


class ScenarioError(UsageError):
    """A scenario or variants file does not fit its schema."""


class CodecLoadError(UsageError):
    """A user's codec cannot be loaded."""


class RefusedReleaseError(UsageError):
    """The release of LiteLLM that never runs."""


class SetupError(UsageError):
    """This machine lacks something that the stack needs."""


class InvalidRunError(HarnessError):
    """The run happened, but its numbers cannot be trusted."""

    exit_code = EXIT_INVALID


class TooSlowError(InvalidRunError):
    """Targets sustain less load than any run needs.

    Args:
        message: as of any error.
        sustained: requests/s that each target answered, by variant.
        slow: the variants that are too slow.
    """

    def __init__(self, message: str, sustained: Mapping[str, float], slow: Sequence[str]) -> None:
        super().__init__(message)
        self.sustained = dict(sustained)
        self.slow = list(slow)


class ServerDiedError(InvalidRunError):
    """A replica or a server exited unexpectedly."""


class NotQuiescentError(InvalidRunError):
    """Work was still pending when a snapshot was due."""


class CodecError(HarnessError):
    """A codec rejected a value."""


class EncodeError(CodecError):
    """The object cannot be encoded."""


class DecodeError(CodecError):
    """The payload does not decode to an object of the requested type."""


_SHOWN_ERRORS = 5
_SHOWN_CHARACTERS = 100


def explain(error: ValidationError) -> str:
    """A Pydantic error as one readable line: field, what is wrong, the value in brackets.

    Shows the first five errors and cuts each value at 100 characters: a file can hold anything.
    """
    parts = []
    items = error.errors(include_url=False)
    for item in items[:_SHOWN_ERRORS]:
        where = _cut(".".join(str(step) for step in item["loc"]) or "the whole")
        value = item["input"]
        shown = f" [{_cut(_text(value))}]" if isinstance(value, str | int | float) else ""
        # A dataclass, which takes its fields as arguments, reports the second type.
        if item["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            parts.append(f"{where}: there is no such field; remove it or check its spelling")
        else:
            parts.append(f"{where}{shown}: {_cut(item['msg'], 400)}")
    more = len(items) - len(parts)
    tail = f"; and {more} more" if more else ""
    return "; ".join(parts) + f"{tail}."


def _text(value: str | float) -> str:
    # Python refuses to write an integer of more than 4,300 digits.
    huge = isinstance(value, int) and abs(value) >= 10**_SHOWN_CHARACTERS
    return "a number of more than 100 digits" if huge else str(value)


def _cut(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[:characters]}…"
