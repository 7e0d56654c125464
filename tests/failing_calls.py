"""Let system calls of the publisher fail, or kill it there."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import signal
from typing import Any, Callable, Iterator, Optional
from unittest import mock

from cyrusquota.publish import atomic, lock, target_directory

#: What does not ask the kernel for anything that can fail.
_PURE = {"fspath", "geteuid", "strerror"}

#: Told of every call: its number, from 0, and its name.
Hook = Callable[[int, str], None]


def _nothing(number: int, name: str) -> None:
    pass


class _Calls:
    """A module whose functions are counted, and announced to the hooks."""

    def __init__(self, real: Any, made: list[str], before: Hook, after: Hook) -> None:
        self._real, self._made, self._before, self._after = real, made, before, after

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if not callable(value) or isinstance(value, type) or name in _PURE:
            return value
        return functools.partial(self._call, name, value)

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        number = len(self._made)
        self._made.append(name)
        if name == "close":
            # The kernel lets go of a descriptor even where it reports an error.
            function(*args, **options)
            self._before(number, name)
            return None
        self._before(number, name)
        try:
            return function(*args, **options)
        finally:
            self._after(number, name)


@contextlib.contextmanager
def watched(before: Hook = _nothing, after: Hook = _nothing) -> Iterator[list[str]]:
    """The names of the system calls that the publisher makes within, as they come."""
    made: list[str] = []
    with contextlib.ExitStack() as stack:
        for module in (target_directory, lock, atomic):
            calls = _Calls(os, made, before, after)
            stack.enter_context(mock.patch.object(module, "os", calls))
        calls = _Calls(fcntl, made, before, after)
        stack.enter_context(mock.patch.object(lock, "fcntl", calls))
        yield made


def failing(at: int, error: BaseException) -> Hook:
    """Let the call number `at` fail with `error`."""

    def hook(number: int, name: str) -> None:
        if number == at:
            raise error

    return hook


def killing(at: int) -> Hook:
    """Kill this process at the call number `at`."""

    def hook(number: int, name: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def forked(work: Callable[[], Optional[int]]) -> int:
    """The process id of a child that does `work` and exits with what it returns."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work() or 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    """How a child ended: its exit status, or minus the number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
