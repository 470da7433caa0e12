"""Checks the start form before Locust reads it.

Locust converts the fields, answers with an error page if it cannot, and starts with whatever
options result. Here an invalid field becomes a message that the form shows.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import UsageError
from harness.load.options import FORM_FIELDS, PLACES

_LOCUSTS_OWN = {
    *("user_count", "spawn_rate", "host", "run_time", "profile", "user_classes", "shape_class"),
}


def check_form(
    current: Mapping[str, Any],
    form: Mapping[str, str],
    *,
    running: bool,
    drivable: Callable[[Namespace], object],
) -> None:
    """Raise UsageError for a form that cannot be driven.

    Args:
        current: all current options.
        form: fields by option name.
        running: whether a load runs; then the form can only change the number of users.
        drivable: raises UsageError for options that cannot be driven.
    """
    ours = [field for field in (*FORM_FIELDS, *PLACES) if field in form]
    _check_names(current, form)
    _check_users(form)
    wanted = {**current, **{name: _value(name, current, form[name]) for name in ours}}
    if running:
        changed = [name for name in ours if wanted[name] != current[name]]
        if changed:
            raise UsageError(
                f"[{', '.join(map(_title, changed))}] cannot be changed while the load runs, only "
                "the number of users can. Stop it, then start it again."
            )
    drivable(Namespace(**wanted))


def _check_names(current: Mapping[str, Any], form: Mapping[str, str]) -> None:
    for name, text in form.items():
        if name in PLACES and current.get(name) and text != current[name]:
            raise UsageError(
                f"[{_title(name)}] was given on the command line and cannot be changed here. "
                "Start Locust again with another value."
            )
        known = name in _LOCUSTS_OWN or name in FORM_FIELDS or name in PLACES or name == "preset"
        # Locust would accept any option by its name, even one that the form does not show
        if name in current and not known:
            raise UsageError(
                f"The form cannot change the option [{name}]. Give it on the command line."
            )


def _check_users(form: Mapping[str, str]) -> None:
    for name, title in (("user_count", "Number of users"), ("spawn_rate", "Ramp up")):
        text = form.get(name, "")
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not number > 0:
            raise UsageError(f"{title} is [{text}]. Give a number above 0.")


def _value(name: str, current: Mapping[str, Any], text: str) -> Any:
    kind = type(current.get(name, ""))
    try:
        return kind(text)
    except ValueError:
        raise UsageError(
            f"{_title(name)} is [{text}], which is no number. Give one, e.g. {current[name]:g}."
        ) from None


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
