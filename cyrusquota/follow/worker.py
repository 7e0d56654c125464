"""Work in a process of its own: the one that follows goes on meanwhile, and stays small.

What a full reading takes of memory goes back to the system with the process that did it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import traceback
from typing import Any, Callable, NoReturn, Optional, Protocol, Union

import attrs

from cyrusquota.errors import CyrusQuotaError, printable
from cyrusquota.follow.scan import Scan

_CHUNK = 1 << 20
#: Cyrus comes first.
_NICE = 5


@attrs.frozen
class Failed:
    """Why the work could not be done."""

    reason: str


WorkResult = Union[Scan, Failed]
Work = Callable[[], Scan]


class Worker(Protocol):
    """Work that was started."""

    def result(self) -> Optional[WorkResult]:
        """What came of it, None as long as it is not done."""

    def end(self) -> None:
        """Stop it and forget it."""

    @property
    def fd(self) -> Optional[int]:
        """What can be read from when there is more to do for `result`."""


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

    def result(self) -> Optional[WorkResult]:
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
            found: Any = pickle.loads(b"".join(self._received))
        except (EOFError, pickle.UnpicklingError):
            return Failed("the process that read the source was killed")
        return found if isinstance(found, Scan) else Failed(str(found))

    def end(self) -> None:
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            os.close(self._read_end)
            self._child = 0


def _work(work: Work, write_end: int) -> NoReturn:
    """Do it, send what comes of it, and be gone: nothing of the parent's may run here."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.nice(_NICE)
        with open(write_end, "wb") as pipe:
            pickle.dump(_done(work), pipe, pickle.HIGHEST_PROTOCOL)
    finally:
        os._exit(0)


def _done(work: Work) -> Union[Scan, str]:
    try:
        return work()
    except CyrusQuotaError as error:
        return str(error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"internal error, please report it: {printable(repr(error))} at {where}"
