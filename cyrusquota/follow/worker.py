"""Work in another process, so that following goes on meanwhile.

What a full scan takes of memory goes back to the system when that process ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import traceback
from typing import Callable, NoReturn, Optional, Protocol

import attrs

from cyrusquota.errors import CyrusQuotaError, printable

_CHUNK = 1 << 20
#: Cyrus comes first.
_NICE = 5


@attrs.frozen
class Failed:
    """Why the work could not be done."""

    reason: str


Work = Callable[[], object]


class Worker(Protocol):
    """Work that was started."""

    def result(self) -> object:
        """Return what the work returned, or `Failed`, or None as long as it is not done."""

    def end(self) -> None:
        """Stop the work and forget it."""

    @property
    def fd(self) -> Optional[int]:
        """A descriptor that can be read when there is more to do for `result`."""


class ForkedWorker:
    """Work that a child process does."""

    def __init__(self, work: Work) -> None:
        self._received: list[bytes] = []
        self._read_end, write_end = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            _work(work, write_end)
        os.close(write_end)
        os.set_blocking(self._read_end, False)

    @property
    def fd(self) -> Optional[int]:
        return self._read_end

    def result(self) -> object:
        while True:
            try:
                chunk = os.read(self._read_end, _CHUNK)
            except BlockingIOError:
                return None
            if not chunk:
                break
            self._received.append(chunk)
        self.end()
        try:
            return pickle.loads(b"".join(self._received))
        except (EOFError, pickle.UnpicklingError):
            return Failed("the process that read the source was killed")

    def end(self) -> None:
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            os.close(self._read_end)
            self._child = 0


def _work(work: Work, write_end: int) -> NoReturn:
    """Work, send the result, and exit without running any code of the parent process."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.nice(_NICE)
        with open(write_end, "wb") as pipe:
            pickle.dump(_done(work), pipe, pickle.HIGHEST_PROTOCOL)
    finally:
        os._exit(0)


def _done(work: Work) -> object:
    try:
        return work()
    except CyrusQuotaError as error:
        return Failed(str(error))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Failed(f"internal error, please report it: {printable(repr(error))} at {where}")
