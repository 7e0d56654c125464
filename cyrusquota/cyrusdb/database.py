"""The one interface that all backends share, and what their readers have in common."""

from __future__ import annotations

import abc
import errno
import os
import stat
import time
from types import TracebackType
from typing import BinaryIO, Iterator, Optional, cast

import attrs

from cyrusquota.errors import (
    AnyPath,
    DamagedDatabase,
    IrregularFile,
    NoSuchSource,
    OnProblem,
    Place,
    printable,
    source_error,
)


@attrs.frozen
class TablePath(os.PathLike[str]):
    """The path of a database file, with the name of its table where it is a SQLite file.

    With `is_only` no other table will do; otherwise one that is called like the file goes before
    it, and the only one that there is will do.
    """

    file: str
    table: str
    is_only: bool = False

    @classmethod
    def instead_of(cls, path: AnyPath, database: str) -> TablePath:
        """Return the table of `database` that takes the place of the file at `path` in Cyrus."""
        return cls(database, table_name(path), is_only=True)

    def __fspath__(self) -> str:
        return self.file

    def __str__(self) -> str:
        return self.file


def table_name(path: AnyPath) -> str:
    """Return what Cyrus calls the table of a database (myopen in lib/cyrusdb_sql.c)."""
    return "_".join(os.path.basename(os.path.abspath(path)).rsplit(".", 1))


@attrs.frozen
class Snapshot:
    """What was read: the backend, the bytes that counted, and the live records where known.

    `generation` changes whenever the file is rewritten; None where the format has nothing like it.
    `identity` is that of the file from before it was read, where following it (`cyrusdb.follow`)
    can go on from here.
    """

    backend: str
    size: int
    records: Optional[int] = None
    generation: Optional[int] = None
    identity: Optional[Identity] = attrs.field(default=None, eq=False)


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
        """Yield every live record, in no order that callers may rely on."""

    @abc.abstractmethod
    def snapshot(self) -> Snapshot:
        """Return what was read."""

    @abc.abstractmethod
    def has_changed(self) -> bool:
        """Return whether the file at the path differs by now from what was read."""

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


#: Here and not in `sql`, which takes a while to import.
SQLITE_MAGIC = b"SQLite format 3\0"

#: What `bytes.translate` turns keys into, to compare them in mailbox order: the end of a key (a TAB
#: in flat files) and then `.` come before all else (convert_to_compare in lib/bsearch.c, the same
#: from 2.4 on). Flat files are in it, and twoskip files of 2.4 to 3.4 with improved_mboxlist_sort.
MAILBOX_ORDER = bytes(
    {9: 1, 10: 1, 46: 2}.get(byte, byte + 2 if 0 < byte < 9 else byte) for byte in range(256)
)


def mailbox_order(key: bytes) -> tuple[bytes, bytes]:
    """Return what to sort by for mailbox order; keys that are equal in it are told apart."""
    return key.translate(MAILBOX_ORDER), key


class Unreadable(Exception):
    """What stands at an offset cannot be a record, or does not fit those before it."""

    def __init__(self, offset: int, expected: str, found: Optional[bytes] = None) -> None:
        self.offset = offset
        self.expected = expected
        self.found = found


#: What is caught while it is being rewritten is right again in an instant: how often to look, and
#: seconds between.
TRIES, PAUSE = 40, 0.005


def attempts(at_most: Optional[int] = None, *, at_once: int = 1) -> Iterator[int]:
    """Yield a number for each attempt to read what a writer may be at, after a pause.

    There are `TRIES` unless told otherwise, of which the first `at_once` need no pause.
    """
    for attempt in range(TRIES if at_most is None else at_most):
        if attempt >= at_once:
            time.sleep(PAUSE)
        yield attempt


# Reading a file that Cyrus may be writing to: never locked, never mapped, never written

#: What tells that a file was written to or replaced. Inode numbers are reused at once, so the
#: inode alone would not do.
Identity = tuple[int, int, int, int, int]


def identity(status: os.stat_result) -> Identity:
    """Return what to compare later to know whether a file is still the one that was read."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def differs(path: AnyPath, then: Identity) -> bool:
    """Return whether what is at `path` now differs from what had the identity `then`."""
    try:
        return identity(os.stat(path)) != then
    except OSError:
        return True


def descriptor_of(path: AnyPath, directory: Optional[int] = None) -> int:
    """Open a regular file for reading, relative to `directory`; raises `OSError`, without waiting.

    A pipe has no end before somebody writes to it, and some devices have none at all.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise IrregularFile(errno.EINVAL, kind)


def opened(path: AnyPath) -> BinaryIO:
    """Open a regular file as `descriptor_of` does, without a buffer."""
    return cast(BinaryIO, os.fdopen(descriptor_of(path), "rb", buffering=0))


def check_presence(descriptor: int, size: int, path: AnyPath) -> None:
    """Raise `DamagedDatabase` where the first `size` bytes are too many for what is on the disk.

    Only where there is a hole: a file system that compresses takes less for a sound file.
    """
    present = os.fstat(descriptor).st_blocks * _DISK_BLOCK
    if size <= _ALWAYS_READ + _MOST_SPARSE * present:
        return
    at = os.lseek(descriptor, 0, os.SEEK_CUR)
    hole = os.lseek(descriptor, 0, os.SEEK_HOLE)
    os.lseek(descriptor, at, os.SEEK_SET)
    if hole < size:
        expected = f"{size} bytes, of which {present} are on the disk"
        raise DamagedDatabase(expected, place=Place(str(path), offset=hole), advice=_RESTORE)


#: What `st_blocks` counts.
_DISK_BLOCK = 512
#: So many bytes are read at once even if they are not on the disk, and so many for one that is.
_ALWAYS_READ, _MOST_SPARSE = 1 << 26, 4
_RESTORE = "restore it from a backup"


def contents(path: AnyPath) -> tuple[bytes, Identity]:
    """Return all of a file in one go, and its identity just before; raises `SourceError`."""
    try:
        with opened(path) as file:
            then = identity(os.fstat(file.fileno()))
            check_presence(file.fileno(), then[2], path)
            return file.read(), then
    except OSError as error:
        raise source_error(error, path) from error


def exactly(file: BinaryIO, size: int) -> bytes:
    """Return `size` bytes from where the file stands, or what there is of them."""
    pieces = []
    while size > 0:
        piece = file.read(min(size, 1 << 26))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
