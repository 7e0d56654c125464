"""Reading a file that Cyrus may be writing to: never locked, never mapped, never written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from cyrusquota.errors import AnyPath, source_error

#: What tells that a file was written to or replaced. Inode numbers are reused at once, so the
#: inode alone would not do.
Identity = tuple[int, int, int, int, int]


def identity(status: os.stat_result) -> Identity:
    """What to compare later to know whether a file is still the one that was read."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def differs(path: AnyPath, then: Identity) -> bool:
    """Whether what is at `path` now differs from what had the identity `then`."""
    try:
        return identity(os.stat(path)) != then
    except OSError:
        return True


def contents(path: AnyPath) -> tuple[bytes, Identity]:
    """All of a file in one go, and its identity just before."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            then = identity(os.fstat(file.fileno()))
            return file.read(), then
    except OSError as error:
        raise source_error(error, path) from error


def exactly(file: BinaryIO, size: int) -> bytes:
    """`size` bytes from where the file stands, or what there is of them."""
    pieces = []
    while size > 0:
        piece = file.read(min(size, 1 << 26))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
