"""Run a command; turn errors into a line on standard error and an exit status (sysexits.h)."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shlex
import sys
from typing import Iterator, NoReturn, Optional

import click

from cyrusquota import errors
from cyrusquota.cli.command import command_again
from cyrusquota.errors import CyrusQuotaError, HeldBack, count_of, printable

#: Cron mails every line, and more of them would say nothing new.
MAX_PROBLEMS = 20


class Problems:
    """Problems that do not end the run: the first ones are reported, a line each; all count.

    Those in the data wait for `release`: where not one record can be read, one sentence says so.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.count = 0
        #: How many of them are in the data; the others are warnings about imapd.conf.
        self.in_data = 0
        self.first = self.first_in_data = ""
        self.quiet = quiet
        self._waiting: Optional[list[str]] = []

    def __call__(self, problem: CyrusQuotaError) -> None:
        self.in_data += 1
        self.first_in_data = self.first_in_data or str(problem)
        self._report(str(problem), self._waiting)

    def warn(self, line: str) -> None:
        """Report a problem that is not in the data."""
        self._report(line, None)

    def _report(self, line: str, waiting: Optional[list[str]]) -> None:
        self.count += 1
        self.first = self.first or line
        if self.quiet or self.count > MAX_PROBLEMS:
            return
        if waiting is None:
            complain(line)
        else:
            waiting.append(line)

    def release(self) -> None:
        """Report what waits, and from now on every problem at once."""
        waiting, self._waiting = self._waiting or [], None
        for line in waiting:
            complain(line)

    def discard(self) -> None:
        """Forget what waits, because an error says more."""
        self._waiting, self.count = [], 0

    def close(self) -> None:
        """Report what waits, and how many more there were."""
        self.release()
        if not self.quiet and self.count > MAX_PROBLEMS:
            complain(f"... and {count_of(self.count - MAX_PROBLEMS, 'more problem')}")


def complain(line: str) -> None:
    """Write one line to standard error, after the name of the command."""
    context = click.get_current_context(silent=True)
    name = context.find_root().info_name if context is not None else None
    _write_error(f"{name or 'cyrusquota'}: {printable(line)}")


def _write_error(text: str) -> None:
    """Write `text` to standard error. Where that fails, the run goes on: nobody can be told."""
    try:
        click.echo(text, err=True)
    except (OSError, ValueError):
        # What Python has buffered would fail again at exit, which then has status 120.
        with contextlib.suppress(OSError, ValueError):
            raw = io.FileIO(sys.stderr.fileno(), "w", closefd=False)
            sys.stderr = io.TextIOWrapper(
                raw,
                errors="backslashreplace",
                write_through=True,
            )


def _open_standard_streams() -> None:
    """Give the process the standard streams that it was started without (`2>&-`).

    Otherwise the next file to be opened would become standard error. Writing to standard output
    then fails as it should (EBADF), standard error goes nowhere, and `sys.stdin` stays None.
    """
    if sys.stdin is None:
        _open_devnull(0, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(_open_devnull(1, os.O_RDONLY), "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_open_devnull(2, os.O_WRONLY), "w", closefd=False)


def _open_devnull(number: int, flags: int) -> int:
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)
    return number


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


def run(command: click.Command, name: str, arguments: Optional[list[str]] = None) -> NoReturn:
    """Run `command` as the program `name` and exit."""
    # Collecting reference cycles takes a tenth of a large run, which makes none.
    gc.disable()
    _open_standard_streams()
    status = _status(command, name, arguments)
    try:
        # Python itself would exit with 120 where this fails.
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # Keeps Python from another attempt at exit.
        sys.stdout = None
        status = status or _output_error(name, error)
    sys.exit(status)


def _status(command: click.Command, name: str, arguments: Optional[list[str]]) -> int:
    try:
        status = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        _write_error(shown.getvalue().rstrip("\n"))
        return errors.EX_USAGE
    except (click.Abort, KeyboardInterrupt):
        return errors.INTERRUPTED
    except CyrusQuotaError as error:
        _write_error(f"{name}: {error}")
        return error.exit_status
    except OSError as error:
        return _output_error(name, error)
    except Exception:
        import traceback

        _write_error(traceback.format_exc().rstrip("\n"))
        _write_error(f"{name}: internal error, nothing was changed; please report it")
        return errors.EX_SOFTWARE
    return status if isinstance(status, int) else 0


def _output_error(name: str, error: OSError) -> int:
    # A reader of our output that is done, `head` for example, is no error to report.
    if not isinstance(error, BrokenPipeError):
        _write_error(f"{name}: {printable(str(error))}")
    return errors.EX_IOERR
