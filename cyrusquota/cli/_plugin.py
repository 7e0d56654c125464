"""A command that is a monitoring plugin: whatever happens, one line and a status from 0 to 3."""

from __future__ import annotations

import sys
from typing import Any, Iterable

import click

from cyrusquota.cli._command import Command
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.monitoring.nagios import Figure, State, line

NAME = "CYRUSQUOTA"


class Plugin(Command):
    """Where any other command ends with an error, this one is UNKNOWN.

    Standard error stays empty: Icinga takes what is written there for a part of the answer.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            ctx.exit(_unknown(f"{error.format_message()} See `{ctx.command_path} --help`"))
        except CyrusQuotaError as error:
            ctx.exit(_unknown(str(error)))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            return _unknown(error.format_message())
        except (CyrusQuotaError, OSError) as error:
            return _unknown(str(error))
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            return _unknown(f"internal error, please report it: {what}")


def tell(state: State, text: str, figures: Iterable[Figure] = ()) -> int:
    """Print the plugin's line; the exit status for it."""
    try:
        sys.stdout.write(f"{line(NAME, state, text, figures)}\n")
        sys.stdout.flush()
    except OSError:
        # Nobody is there to hear it, and nothing is left to flush at exit.
        sys.stdout = None
        return State.UNKNOWN
    return int(state)


def _unknown(text: str) -> int:
    return tell(State.UNKNOWN, text)
