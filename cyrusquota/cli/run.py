"""Run a command; turn errors into a line on standard error and an exit status (sysexits.h)."""

from __future__ import annotations

import contextlib
import shlex
import sys
import traceback
from typing import Iterator, NoReturn, Optional

import click

from cyrusquota import errors
from cyrusquota.cli.command import command_again
from cyrusquota.errors import CyrusQuotaError, HeldBack, printable

#: Cron mails every line, and more of them would say nothing new.
MAX_PROBLEMS = 20


class Problems:
    """Problems that do not end the run: the first ones are reported, a line each; all count."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.count = 0
        #: How many of them are in the data; the others are warnings about imapd.conf.
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
        """Report how many more there were."""
        if not self.quiet and self.count > MAX_PROBLEMS:
            complain(f"... and {self.count - MAX_PROBLEMS} more problems like these")


def complain(line: str) -> None:
    """Write one line to standard error, after the name of the command."""
    context = click.get_current_context(silent=True)
    name = context.find_root().info_name if context is not None else None
    click.echo(f"{name or 'cyrusquota'}: {printable(line)}", err=True)


@contextlib.contextmanager
def advised(output: str) -> Iterator[None]:
    """Let a `HeldBack` for the map `output` name the command that would accept it."""
    try:
        yield
    except HeldBack as error:
        if error.ceiling is None:
            advice = f"if there are no quotas any more: rm {shlex.quote(output)}"
        else:
            advice = f"if this is right: {command_again('--accept-change', str(error.ceiling))}"
        raise error.advising(f"check the quota database; {advice}") from error


def _flush() -> None:
    """Flush standard output now; Python itself would exit with 120 where that fails."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Keeps Python from another attempt at exit.
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
        # The reader of our output, `head` for example, is done.
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
