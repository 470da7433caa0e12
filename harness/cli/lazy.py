"""Commands whose code is imported when they run, so that ``--help`` and completion stay fast.

Modules of `harness.cli` import click and `harness.errors`, and no other part of the harness.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NoReturn

import click

from harness.errors import EXIT_INVALID, HarnessError


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
def reported(invalid: int = EXIT_INVALID) -> Iterator[None]:
    """Turn errors into one line on stderr and the documented exit code.

    An error that is neither the harness's own nor the system's is a bug: its traceback comes first.

    Args:
        invalid: the exit code where a run is invalid or the harness itself failed. For a failure
            Python has 1, which would be a verdict.
    """
    try:
        yield
    except HarnessError as error:
        _end(f"error: {error}", invalid if error.exit_code == EXIT_INVALID else error.exit_code)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:  # noqa: BLE001 - see above
        if isinstance(error, OSError) and error.strerror:
            where = f"[{error.filename}]: " if error.filename else ""
            said = f"error: {where}{error.strerror}. Remove the cause, then run the command again."
        else:
            said = f"{traceback.format_exc()}error: The harness has a bug. Report the lines above."
        _end(said, invalid)


def _end(message: str, code: int) -> NoReturn:
    # What cannot be written may be standard error.
    with contextlib.suppress(OSError):
        click.echo(message, err=True)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            # Python would try again at its end, and exit with 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


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

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        with reported():
            return super().main(*args, **kwargs)
