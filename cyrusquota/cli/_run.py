"""Run a command: errors become one line on standard error and an exit status of sysexits.h."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import NoReturn, Optional

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
