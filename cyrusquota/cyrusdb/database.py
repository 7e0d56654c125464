"""The one interface that all backends share."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Iterator, Optional

import attrs

from cyrusquota.errors import AnyPath, NoSuchSource, OnProblem, printable, source_error


@attrs.frozen
class Snapshot:
    """What was read: the backend, the bytes that counted, and the live records where known.

    `generation` is what tells one incarnation of the file from the next, None where the format
    has nothing of the kind. `inode` is the device and inode of the file, where following it
    (`cyrusdb.tail`) can go on from here.
    """

    backend: str
    size: int
    records: Optional[int] = None
    generation: Optional[int] = None
    inode: Optional[tuple[int, int]] = attrs.field(default=None, eq=False)


class Database(abc.ABC):
    """A database as it was at one moment; iterating gives (key, value), each live key once.

    Also a context manager, which closes it.
    """

    #: The name Cyrus has for the format.
    backend: str

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        if b"\0" in os.fsencode(path):
            raise NoSuchSource(
                f"{printable(str(path))}: no file has a NUL byte in its name; correct it"
            )
        self.path = path
        self._on_problem = on_problem

    @abc.abstractmethod
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Every live record, in no order that callers may rely on."""

    @abc.abstractmethod
    def snapshot(self) -> Snapshot:
        """What was read."""

    @abc.abstractmethod
    def has_changed(self) -> bool:
        """Whether the file at the path differs by now from what was read."""

    def close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Let go of what is held; iterating is over then."""

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()


# Reading a file that Cyrus may be writing to: never locked, never mapped, never written

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
