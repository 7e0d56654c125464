"""Run a command: errors become one line on standard error and an exit status of sysexits.h."""

from __future__ import annotations

import contextlib
import shlex
import sys
import traceback
from typing import Iterable, Iterator, NoReturn, Optional

import click

from cyrusquota import errors
from cyrusquota.errors import CyrusQuotaError, printable

#: More than this says nothing new, and cron mails every line.
MAX_PROBLEMS = 20


class Problems:
    """Things that went wrong without ending the run: a line each, the first ones only."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.count = 0
        #: Those that were met in the data; the others are warnings about the configuration.
        self.in_data = 0
        self.first = ""
        self.quiet = quiet

    def __call__(self, problem: CyrusQuotaError) -> None:
        self.in_data += 1
        self.say(str(problem))

    def say(self, line: str) -> None:
        self.count += 1
        self.first = self.first or line
        if not self.quiet and self.count <= MAX_PROBLEMS:
            complain(line)

    def close(self) -> None:
        """Count what was not said."""
        if not self.quiet and self.count > MAX_PROBLEMS:
            complain(f"... and {self.count - MAX_PROBLEMS} more problems like these")


def complain(line: str) -> None:
    """One line on standard error, under the name of the command."""
    context = click.get_current_context(silent=True)
    name = context.find_root().info_name if context is not None else None
    click.echo(f"{name or 'cyrusquota'}: {printable(line)}", err=True)


class Command(click.Command):
    """A command that knows how it was called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)


_GIVEN = "cyrusquota.arguments"


def command_again(option: str, value: str) -> str:
    """The command line of this run, for a shell, with `option` set to `value`."""
    context = click.get_current_context()
    given = context.meta[_GIVEN]
    # Only a single run can be told what to accept.
    if "--follow" in given:
        given = _without("--poll", (word for word in given if word != "--follow"))
    return shlex.join([*_names(context), *_without(option, given), option, value])


def _names(context: click.Context) -> list[str]:
    """The program and the commands within it that lead here."""
    above = [] if context.parent is None else _names(context.parent)
    return [*above, context.info_name or ""]


def _without(option: str, arguments: Iterable[str]) -> Iterator[str]:
    words = iter(arguments)
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            yield word


def _flush() -> None:
    """Write out what was printed: at exit a failure would be told in Python's words, as 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Nothing is left to flush at exit.
        sys.stdout = None
        raise


def run(command: click.Command, name: str, arguments: Optional[list[str]] = None) -> NoReturn:
    """Run `command` as the program `name` and exit."""
    try:
        status = command.main(arguments, prog_name=name, standalone_mode=False)
        _flush()
    except click.ClickException as error:
        error.show()
        sys.exit(errors.EX_USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(errors.INTERRUPTED)
    except CyrusQuotaError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stdout = None
        sys.exit(errors.EX_IOERR)
    except OSError as error:
        click.echo(f"{name}: {printable(str(error))}", err=True)
        with contextlib.suppress(OSError):
            _flush()
        sys.exit(errors.EX_IOERR)
    except Exception:
        traceback.print_exc()
        click.echo(f"{name}: internal error, nothing was changed; please report it", err=True)
        sys.exit(errors.EX_SOFTWARE)
    sys.exit(status if isinstance(status, int) else 0)
