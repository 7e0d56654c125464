"""Run a command after the map has changed, such as postmap: one at a time, and never for too long.

It runs without a shell, with the rights of this process. What changes meanwhile leads to one more
call. Its failure is reported, and does not end anything.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, Callable, Optional

import attrs
import click

from cyrusquota.errors import OptionError, printable

if TYPE_CHECKING:
    import subprocess

#: Seconds after which it is killed.
LIMIT = 30.0


def command_words(
    context: click.Context, parameter: click.Parameter, given: Optional[str]
) -> tuple[str, ...]:
    """Return the words of a command, split as a shell does; raise `OptionError` for none."""
    if given is None:
        return ()
    try:
        words = tuple(shlex.split(given))
    except ValueError as error:
        raise OptionError(f"--on-change: {error} in {given!r}; close the quotes") from None
    if not words or "\0" in given:
        raise OptionError(f"--on-change: expected a command, found {given!r}")
    return words


@attrs.define
class ChangeCommand:
    """Calls a command after changes; without words, nothing is called."""

    words: tuple[str, ...]
    report: Callable[[str], None]
    _is_due: bool = False
    _running: Optional[subprocess.Popen[bytes]] = None
    _begun: float = 0.0

    def changed(self) -> None:
        """Call the command now, or once more when the running one ends."""
        self._is_due = bool(self.words)
        self.step()

    def step(self) -> None:
        """Note the end of a call, kill one that takes too long, and begin one that is due."""
        self._note_end(0)
        if self._running is None and self._is_due:
            self._is_due = False
            self._begin()

    def finish(self) -> None:
        """Wait for the end of the running call."""
        self._note_end(max(0.0, self._begun + LIMIT - time.monotonic()))

    def _begin(self) -> None:
        # Most runs have no command, and start without this module.
        import subprocess

        self._begun = time.monotonic()
        try:
            # Standard output may be where another program reads the map.
            self._running = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                start_new_session=True,
            )
        except OSError as error:
            self._failed(f"cannot be run: {(error.strerror or str(error)).lower()}")

    def _note_end(self, patience: float) -> None:
        if self._running is None:
            return
        import subprocess

        try:
            status = self._running.wait(patience)
        except subprocess.TimeoutExpired:
            if time.monotonic() - self._begun < LIMIT:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()
            self._failed(f"was still running after {LIMIT:g} seconds, and was killed")
        else:
            if status:
                self._failed(f"ended with {status}")
        self._running = None

    def _failed(self, how: str) -> None:
        command = printable(shlex.join(self.words))
        self.report(f"--on-change: {command}: {how}; the map is in place, run it by hand")
