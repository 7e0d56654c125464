"""One run at a time for each map.

The lock is `flock` on a file of its own beside the map, which only the writer's user can open. On
the directory or the map itself, any user could take the lock and keep the map from being renewed.
The kernel releases it when a run is killed; the file that is left then does no harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from typing import Iterator, Optional

from cyrusquota.errors import CannotCreateMap, MapLocked, map_os_errors, printable
from cyrusquota.publish.target_directory import Directory, close_quietly

#: Seconds between two tries.
_PAUSE = 0.05


@contextlib.contextmanager
def locked(directory: Directory, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of the map in `directory`. Raises `MapLocked` after `wait` seconds."""
    name = f".{directory.name}.lock"
    with map_os_errors(directory.path.with_name(name)):
        fd = _acquired(directory, name, wait)
    try:
        yield
    finally:
        try:
            # Before the lock is released, so that a run which has opened this file sees it gone.
            with contextlib.suppress(OSError):
                directory.discard(name)
        finally:
            close_quietly(fd)


def _acquired(directory: Directory, name: str, wait: float) -> int:
    until = time.monotonic() + wait
    while True:
        fd = _tried(directory, name)
        if fd is not None:
            return fd
        if time.monotonic() >= until:
            raise MapLocked(
                f"{printable(str(directory.path))}: another run holds the lock of this map;"
                " try again later, or give --wait SECONDS"
            )
        time.sleep(_PAUSE)


def _tried(directory: Directory, name: str) -> Optional[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(name, flags, 0o600, dir_fd=directory.fd)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            where = printable(str(directory.path.with_name(name)))
            raise CannotCreateMap(f"{where}: is not a plain file; remove it")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another run may have removed the file between open and flock.
        current = directory.status(name)
        if current is not None and os.path.samestat(current, status):
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        close_quietly(fd)
        raise
    close_quietly(fd)
    return None
