"""Commands whose code is imported when they run, so that ``--help`` and completion stay fast.

Modules of `harness.cli` import click and `harness.errors`, and no other part of the harness.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import click

from harness.errors import HarnessError


def load(path: str) -> Any:
    """Import the object that ``module:attribute`` names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def work(ctx: click.Context, path: str, **options: Any) -> Any:
    """Import ``module:function`` and call it.

    Args:
        ctx: its ``obj``, if set, is called between the import and the call, to change how the
            program handles signals.
        path: ``module:function``.
        options: arguments of the function.
    """
    function = load(path)
    if ctx.obj is not None:
        ctx.obj()
    return function(**options)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn the harness's errors into one line on stderr and the documented exit code."""
    try:
        yield
    except HarnessError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


class LazyCommand(click.Command):
    """A command that is declared by its options and docstring, with its body in another module.

    Args:
        body: ``module:function``; its arguments have the names of the options.
    """

    def __init__(self, *args: Any, body: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.body = body

    def invoke(self, ctx: click.Context) -> Any:
        """Import the body and call it."""
        return work(ctx, self.body, **ctx.params)


class LazyGroup(click.Group):
    """A group that imports a command when it is used, and turns errors into exit codes.

    Args:
        lazy: ``module:attribute`` of each command, by name.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        del ctx
        return sorted({*self.lazy, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None if there is none."""
        path = self.lazy.get(cmd_name)
        command: click.Command | None = load(path) if path else super().get_command(ctx, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with reported():
            return super().invoke(ctx)
