"""Reports of the clock: the terminal, ``clock.md``, ``clock.svg`` and one issue for each action.

An issue says what was measured, and how to see it by hand; it says nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from harness.analysis.clock import is_over, is_over_idle, was_timed
from harness.domain.changes import ACTIONS
from harness.domain.population import VirtualKey, make_changes
from harness.domain.result import Clock, Freshness, Result, in_order
from harness.errors import EXIT_INCONCLUSIVE, EXIT_PASS, EXIT_REGRESSION, UsageError
from harness.report.charts import Bar, columns
from harness.report.freshness import (
    clock_text,
    clocks_table,
    freshness_table,
    slowest,
    workers_table,
)
from harness.report.grid import draw, say
from harness.report.history_report import standalone
from harness.report.markdown import bullets, escape, markdown_table
from harness.report.numbers import plain
from harness.report.study import head_markdown, say_head
from harness.scenario.schema import ChangeWindow
from harness.scenario.sizing import MODEL, probe_every_s
from harness.style import colour, marks
from harness.targets.base import Call
from harness.targets.registry import is_release_name
from harness.targets.schema import management

CLOCK = "clock.md"
CHART = "clock.svg"
TITLE = "How long does each worker serve what is no longer true?"
LABEL = "Seconds from a change to the last old answer, by action, of the handler and of others"
_SERVERS = ("postgres_version", "redis_version", "valkey_version")


def require_clocks(result: Result) -> None:
    """Raise UsageError if nothing was changed in a run."""
    if not result.freshness:
        raise UsageError(
            f"Nothing was changed in the run [{result.run_id}], so there is no clock to show. "
            "`harness clock` changes objects."
        )


def clock_exit_code(result: Result, *, strict: bool) -> int:
    """The run's own exit code, or else 1 (only if strict): over the promise, 3: not timed."""
    if result.exit_code:
        return result.exit_code
    each = [one for *_, one in _each(result)]
    if strict and any(is_over(one) or is_over_idle(one) for one in each):
        return EXIT_REGRESSION
    return EXIT_PASS if each and all(map(was_timed, each)) else EXIT_INCONCLUSIVE


def print_clock(result: Result, console: Console) -> None:
    """Print the clocks of a run."""
    say_head(TITLE, result, console)
    if not result.freshness:
        return
    draw(console, freshness_table(result))
    for line in remarks(result):
        say(console, line, "yellow")


def clock_files(result: Result) -> dict[str, str]:
    """The texts of the clock's files by name."""
    if not result.freshness:
        return {CLOCK: head_markdown(TITLE, result) + "\n"}
    return {CLOCK: clock_markdown(result), CHART: clock_svg(result), **issues(result)}


def remarks(result: Result) -> list[str]:
    """What a reader of the table must know: the slowest action, and what could not be timed."""
    said = []
    for name, by_action in result.freshness.items():
        if one := slowest(by_action):
            over = f", beyond the promise of {plain(one.promise_s)} s" if one.over else ""
            said.append(
                f"{name}: slowest after {one.action} in {one.scope} ({one.who}), "
                f"{clock_text(one.clock)} s{over}."
            )
    said += [
        f"{name}: {action} in {scope} is beyond the promise of {plain(one.promise_s)} s in idle "
        f"workers: {clock_text(worst)} s."
        for name, action, scope, one in _each(result)
        if is_over_idle(one) and (worst := _worst_idle(one)) is not None
    ]
    said += [
        f"{name}: {action} in {scope} was not timed in idle workers: none of those that were asked "
        "had an old answer before it and one after it that tells it."
        for name, action, scope, one in _each(result)
        if one.idle is not None and not one.idle.answers and one.outcome != "not_there"
    ]
    said += [
        f"{name}: {action} in {scope} was not timed{_how_often(one)}: {_why(one)}"
        for name, action, scope, one in _each(result)
        if not was_timed(one)
    ]
    return said


def _worst_idle(one: Freshness) -> Clock | None:
    sides = [] if one.idle is None else [one.idle.handler_s, one.idle.others_s]
    return max((clock for clock in sides if clock is not None), key=_rank, default=None)


def _how_often(one: Freshness) -> str:
    return f" after {one.untimed} of its changes" if one.workers else ""


def _why(one: Freshness) -> str:
    match one.outcome:
        case "refused":
            return f"the call was refused: {one.detail}"
        case "not_told_apart":
            return "answers before and after it are alike."
        case _:
            return (
                "no worker, or none but the one that took it, gave an answer before it and one "
                "after it that tell it."
            )


def clock_markdown(result: Result) -> str:
    """The clocks of a run as GitHub-flavoured Markdown; the chart is a separate file."""
    parts = [
        head_markdown(TITLE, result),
        f"![{escape(LABEL)}]({CHART})",
        markdown_table(freshness_table(result)),
        bullets(remarks(result)),
        markdown_table(clocks_table(result)),
        bullets(result.notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def clock_svg(result: Result) -> str:
    """The chart as a file: an upright bar for each variant and side, the promise as a line.

    A variant has its colour of every other picture, its handler a paler one.
    """
    groups = list(
        dict.fromkeys(
            (action, scope, idle)
            for _, action, scope, one in _each(result)
            for idle in ([False, True] if one.idle else [False])
        )
    )
    scopes = Counter(action for action, _ in {(action, scope) for action, scope, _ in groups})
    labels = [
        f"{action}{f', {scope}' * (scopes[action] > 1)}{', idle' * idle}"
        for action, scope, idle in groups
    ]
    series: dict[str, list[Bar]] = {}
    rules = []
    for (name, by_action), mark in zip(
        result.freshness.items(), marks(result.freshness).values(), strict=True
    ):
        fills = {
            "handler": f"color-mix(in srgb, {colour(name)} 50%, var(--paper))",
            "others": colour(name),
        }
        for side, fill in fills.items():
            again = " stroke: var(--ink);" if mark.endswith(" again") else ""
            number = f".color-{len(series)}"
            rules.append(f"{number} rect, rect{number} {{ fill: {fill};{again} }}\n")
            series[f"{name}: {side}"] = [
                _bar(
                    f"{name}, {label}, {side}",
                    _side(by_action.get(action, {}).get(scope), side, idle=idle),
                )
                for label, (action, scope, idle) in zip(labels, groups, strict=True)
            ]
    promise_s = max(one.promise_s for *_, one in _each(result))
    drawn = columns(
        labels,
        series,
        LABEL,
        title="s (dashes: promise)",
        line=promise_s,
        turned=True,
    )
    return standalone(drawn, "".join(rules))


def _side(one: Freshness | None, side: str, *, idle: bool) -> Clock | None:
    clocks = one.idle if one is not None and idle else one
    return None if clocks is None else clocks.handler_s if side == "handler" else clocks.others_s


def _bar(label: str, clock: Clock | None) -> Bar:
    value = None if clock is None else clock.low
    ended = clock is None or clock.high is not None
    return Bar(label, value, f"{clock_text(clock)} s", "" if ended else "open")


def issues(result: Result) -> dict[str, str]:
    """A text for each action after which a worker was over its promise, by file name.

    An invalid run has none: its figures claim nothing.
    """
    if result.verdict == "invalid":
        return {}
    over: dict[str, list[tuple[str, str, Freshness]]] = {}
    for name, action, scope, one in _each(result):
        if is_over(one) or is_over_idle(one):
            over.setdefault(action, []).append((name, scope, one))
    return {f"issue-{action}.md": _issue(result, action, rows) for action, rows in over.items()}


_HOW_MEASURED = (
    "Every worker is asked for the key again and again. An old answer fits what Postgres held "
    "before the change and not what it held after it. Times are seconds from the answer to the "
    "change to the start of the last request that was sent after it and got an old answer; a "
    "worker is open where old answers had not ended when the measurement did."
)
_HOW_IDLE = (
    "Every worker is asked for the key shortly before the change, and then none is until one "
    "worker is asked once. An old answer fits what Postgres held before the change and not what it "
    "held after it. Times are seconds from the answer to the change to the start of that request; "
    "each is of a key of its own, and a time is open where the last of them was old."
)
_SEEN = {
    "refuse": "After the change the key must be refused.",
    "admit": "After the change the key must be admitted.",
    "differ": (
        "The status does not change: which version a worker used was read from a header that the "
        "measurement adds to its replies, so the steps alone do not show it."
    ),
}
"""What the change does to replies, by its effect."""


def _issue(result: Result, action: str, rows: Sequence[tuple[str, str, Freshness]]) -> str:
    in_use = any(is_over(one) for *_, one in rows)
    clocks = [
        clock
        for *_, one in rows
        for clock in ([one.handler_s, one.others_s] if in_use else [_worst_idle(one)])
    ]
    worst = max((clock for clock in clocks if clock), key=_rank)
    shown: dict[str, dict[str, dict[str, Freshness]]] = {}
    for name, scope, one in rows:
        shown.setdefault(name, {}).setdefault(action, {})[scope] = one
    over = result.model_copy(update={"freshness": shown})
    key, call = _example(action, rows[0][1])
    title = (
        f"{call.path}: workers answer as before the change for {clock_text(worst)} s, "
        f"with a TTL of {plain(result.ttl_s)} s"
        f"{'' if in_use else ', of a key that was not in use'}"
    )
    what, how = ACTIONS[action].summary, _HOW_MEASURED if in_use else _HOW_IDLE
    versions = [
        *(
            f"LiteLLM {name.partition('==')[2]}" if is_release_name(name) else f"variant {name}"
            for name in shown
        ),
        *(note for note in result.notes if note.startswith(_SERVERS)),
        f"replicas: {result.replicas}, workers of each: {result.workers}",
        f"user_api_key_cache_ttl: {plain(result.ttl_s)}",
    ]
    parts = [
        f"# {escape(title)}",
        f"The change: {what}. {how} {_SEEN[ACTIONS[action].effect]}",
        "## Versions",
        bullets(versions),
        "## Measured",
        markdown_table(freshness_table(over)),
        *([markdown_table(clocks_table(over)), markdown_table(workers_table(over))] * in_use),
        "## Steps",
        _steps(result, action, key, call, in_use=in_use),
    ]
    return "\n\n".join(parts) + "\n"


def _rank(clock: Clock) -> tuple[float, float]:
    return clock.longest, clock.low


def _example(action: str, scope: str) -> tuple[VirtualKey, Call]:
    """A key with names that people can read, and the call that changes it."""
    (key,) = make_changes([(action, scope)], first=0, seed=0, model=MODEL)
    shared = key.user_id == key.team_id
    key = replace(
        key,
        secret="sk-clock-1",  # noqa: S106 - an example for people
        alias="key-1",
        user_id=key.user_id and ("id-1" if shared else "user-1"),
        team_id=key.team_id and ("id-1" if shared else "team-1"),
    )
    return key, management.call(action, key, 1)


def _steps(result: Result, action: str, key: VirtualKey, call: Call, *, in_use: bool) -> str:
    owners = {"user_id": key.user_id, "team_id": key.team_id}
    owned = {name: owner for name, owner in owners.items() if owner}
    made = [_curl("$A", f"/{name[:4]}/new", {name: owner}) for name, owner in owned.items()]
    if len(owned) == len(owners):
        member = {"role": "user", "user_id": key.user_id}
        made.append(_curl("$A", "/team/member_add", {"team_id": key.team_id, "member": member}))
    if action != "key-new":
        made.append(_curl("$A", "/key/generate", {"key": key.secret, **owned}))
    promise = plain(max(one.promise_s for *_, one in _each(result)))
    every_s = plain(round(probe_every_s(ChangeWindow(), result.ttl_s), 2))
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    first, then, last = _IN_USE if in_use else _IDLE
    begin, end = (f"while sleep {every_s}; do ", "; done") if in_use else ("", "")
    loop = (
        f"{begin}for url in $A $B; do\n"
        '  curl -s -o /dev/null -w "$(date +%T) $url %{http_code}\\n" '
        f"$url/v1/chat/completions \\\n    -H 'Authorization: Bearer {key.secret}' "
        f"-H 'Content-Type: application/json' \\\n    -d '{json.dumps(ask)}'\ndone{end}"
    )
    before = f" {_BEFORE[action]}" if action in _BEFORE else ""
    return "\n\n".join(
        [
            _START.format(result.replicas, plain(result.ttl_s), MODEL),
            f"2. Make the key and its owners.{before}",
            _shell(*made),
            f"3. {first}",
            _shell(loop),
            f"4. {then}, and note the time:",
            _shell(_curl("$A", call.path, call.body)),
            f"5. {last.format(promise)}",
        ]
    )


_IN_USE = (
    "Ask every replica for the key, and leave this running:",
    "In another terminal, make the change",
    "Compare the time of the last old answer of each replica with that of the change.",
)
_IDLE = (
    "Ask every replica for the key, last the one that you will ask in step 5:",
    "Make the change",
    "Ask none for more than {} s. Then ask one, once, as in step 3.",
)
_START = (
    "1. Start {} replicas on one Postgres and one Redis, with `user_api_key_cache_ttl: {}` and a "
    "model named `{}`. `A` and `B` are the addresses of two of them, `MASTER` is the master key."
)
_BEFORE = {
    "key-unblock": "Block the key.",
    "team-unblock": "Block the team.",
    "key-budget": "Let the key spend something.",
    "key-budget-raised": "Give the key a budget, and use it up.",
    "member-budget": "Give the member a budget, and let it spend something.",
    "member-budget-cleared": "Give the member a budget.",
}
"""What else is needed before an action."""


def _shell(*lines: str) -> str:
    return "```sh\n" + "\n".join(lines) + "\n```"


def _curl(base: str, path: str, body: Mapping[str, Any]) -> str:
    return (
        f'curl -s {base}{path} -H "Authorization: Bearer $MASTER" '
        f"-H 'Content-Type: application/json' \\\n  -d '{json.dumps(dict(body))}'"
    )


def _each(result: Result) -> list[tuple[str, str, str, Freshness]]:
    return [
        (name, action, scope, by_action[action][scope])
        for name, by_action in result.freshness.items()
        for action in in_order(by_action, ACTIONS)
        for scope in by_action[action]
    ]
