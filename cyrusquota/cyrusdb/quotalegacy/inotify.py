"""Ask the kernel what happens in directories: inotify(7), by its three system calls.

Only Linux has it. Elsewhere, and where Python was built without ctypes, `opened` returns None.
"""

from __future__ import annotations

import enum
import errno
import os
import struct
from typing import Any, Iterator, NamedTuple, Optional

#: watch, mask, cookie, length of the name behind (`struct inotify_event`)
_EVENT = struct.Struct("iIII")
#: Above what a queue holds by default; the kernel gives whole events, as many as fit.
_MOST_BYTES = 1 << 20


class Mask(enum.IntFlag):
    """What to watch for, and what happened (include/uapi/linux/inotify.h)."""

    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    ONLYDIR = 0x1000000
    ISDIR = 0x40000000


class Event(NamedTuple):
    """What happened to the entry `name` of a watched directory; an empty name is itself."""

    watch: int
    mask: int
    name: bytes


class Inotify:
    """A queue of events."""

    def __init__(self, library: Any) -> None:
        self._library = library
        # inotify.h defines IN_NONBLOCK and IN_CLOEXEC as these.
        self._fd: int = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _last_error()

    def add(self, path: bytes, mask: int) -> int:
        """Watch a directory; return the number that its events have. Raises `OSError`."""
        watch: int = self._library.inotify_add_watch(self._fd, path, mask)
        if watch < 0:
            raise _last_error()
        return watch

    def events(self) -> Iterator[Event]:
        """Yield the events so far."""
        while True:
            try:
                data = os.read(self._fd, _MOST_BYTES)
            except BlockingIOError:
                return
            yield from _events(data)

    def close(self) -> None:
        os.close(self._fd)


def opened() -> Optional[Inotify]:
    """Return a new queue, or None where the kernel gives none."""
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        library.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        return Inotify(library)
    except (ImportError, AttributeError, OSError):
        return None


def _events(data: bytes) -> Iterator[Event]:
    at = 0
    while at < len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size + length
        yield Event(watch, mask, data[at - length : at].rstrip(b"\0"))


def _last_error() -> OSError:
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def is_exhausted(error: OSError) -> bool:
    """Return whether the kernel allows no more watches (fs.inotify.max_user_watches)."""
    return error.errno in (errno.ENOSPC, errno.ENOMEM)
