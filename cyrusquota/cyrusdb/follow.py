"""Follow a database: what was committed since it was last looked at, reading only that.

    with follow.open(path) as followed:
        with cyrusdb.open(path) as db:
            records = dict(db)
            followed.begin(db.snapshot())
        ...
        changes = followed.changes()

A database is opened here before it is read, so its inode cannot become that of another file
meanwhile; `begin` takes the position from the reading itself, so that nothing lies between the two.
`NeedsRescan` says that what has become of the database cannot be told from what was written since;
read it again then.
"""

from __future__ import annotations

import abc
import importlib
import os
import struct
import time
from bisect import bisect_left, bisect_right
from typing import Any, Callable, Collection, Iterator, Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.database import (
    Database,
    Identity,
    Snapshot,
    Unreadable,
    descriptor_of,
    identity,
    mailbox_order,
)
from cyrusquota.cyrusdb.flat import Flat
from cyrusquota.errors import AnyPath, CyrusQuotaError, OnProblem, source_error

__all__ = [
    "HEADER_LOOKS",
    "Appended",
    "Changes",
    "ComparedFile",
    "Followed",
    "FollowedLog",
    "Gap",
    "LogHeader",
    "NeedsRescan",
    "WatchedFile",
    "in_gaps",
    "is_followed",
    "open",
    "record_from",
]

#: Formats that append what they commit: module and class.
_LOGS = {
    "skiplist": ("skiplist.follow", "FollowedSkiplist"),
    "twom": ("twom.follow", "FollowedTwom"),
    "twoskip": ("twoskip.follow", "FollowedTwoskip"),
}


class NeedsRescan(Exception):
    """The changes cannot be told; the database has to be read again."""


@attrs.frozen
class Gap:
    """A part of a database in which nothing is live: between two keys, None for an end."""

    after: Optional[bytes]
    before: Optional[bytes]


def in_gaps(keys: Collection[bytes], gaps: Collection[Gap]) -> tuple[set[bytes], bool]:
    """Return those of `keys` that belong in one of the gaps, and whether that is sure for all.

    It is not where it depends on the order that the database is in.
    """
    found = []
    orders: tuple[Callable[[bytes], Any], ...] = (bytes, mailbox_order)
    for order in orders if gaps else ():
        ordered = sorted(keys, key=order)
        places, held = list(map(order, ordered)), set[bytes]()
        for gap in gaps:
            low = 0 if gap.after is None else bisect_right(places, order(gap.after))
            high = None if gap.before is None else bisect_left(places, order(gap.before))
            held.update(ordered[low:high])
        found.append(held)
    return set.intersection(*found) if found else set(), not found or found[0] == found[1]


@attrs.frozen
class Changes:
    """What became of each key that was written, None if it is gone.

    Where deletions do not name their key, `gaps` say where they were: what is in none of them has
    not been deleted. `records` is how many live records there are by now, None where that is not
    known. Where `is_complete` is False there were changes besides, such as too many deletions, or a
    new file that is taken for a repacked one; read the database again when there is time.
    """

    by_key: dict[bytes, Optional[bytes]] = attrs.field(factory=dict)
    records: Optional[int] = None
    is_complete: bool = True
    gaps: frozenset[Gap] = frozenset()


class Followed(abc.ABC):
    """A database that is followed; also a context manager, which closes it."""

    @abc.abstractmethod
    def begin(self, snapshot: Snapshot) -> None:
        """Go on from what was read; raises `NeedsRescan` where that was another file."""

    @abc.abstractmethod
    def changes(self) -> Changes:
        """Return what was committed since.

        Raises `NeedsRescan`, or `SourceError` where nothing can be read.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Followed:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def is_followed(path: AnyPath) -> bool:
    """Return whether the changes of the database file at `path` can be told.

    Raises what `cyrusdb.guess` raises.
    """
    return cyrusdb.guess(path) in _LOGS


def open(path: AnyPath) -> Followed:  # noqa: A001 - as in `cyrusdb`
    """Follow the database file at `path`; where its format does not tell, watch it.

    Raises what `cyrusdb.guess` raises. (For a quotalegacy tree see `quotalegacy.follow`.)
    """
    backend = cyrusdb.guess(path)
    if backend not in _LOGS:
        return WatchedFile(path)
    module, name = _LOGS[backend]
    package = importlib.import_module(f"cyrusquota.cyrusdb.{module}")
    followed: Followed = getattr(package, name)(path)
    return followed


# Files that are replaced for every change, or that anything may be done to: flat, SQLite

#: The clock that file times come from may tick as slowly as this, in seconds.
_TICK = 0.02
_LOOKS = 10


class WatchedFile(Followed):
    """Whether a file has changed, and not in what."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._look()

    def _look(self) -> None:
        for _ in range(_LOOKS):
            self._identity = self._now()
            # A second change within one tick of the clock would not show.
            if time.time() - max(self._identity[3:]) / 1e9 > _TICK:
                break
            time.sleep(_TICK)

    def begin(self, snapshot: Snapshot) -> None:
        """Do nothing: the identity was taken before the reading."""

    def changes(self) -> Changes:
        return Changes(is_complete=self._now() == self._identity)

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _now(self) -> Identity:
        try:
            return identity(os.stat(self._path))
        except OSError as error:
            raise source_error(error, self._path) from error


#: Larger files are only watched: to read them takes too long, and to keep them too much memory.
_LARGEST_COMPARED = 1 << 24


class ComparedFile(WatchedFile):
    """A flat file, which is read after each change and compared with what it held before.

    `opened` opens it. It is also read here, so changes from before `begin` come again, which does
    no harm. While it is too large, or has lines in bad format, `changes` are as for a
    `WatchedFile`. Raises what `opened` raises, also in `changes`.
    """

    def __init__(self, path: AnyPath, opened: Callable[[OnProblem], Database]) -> None:
        super().__init__(path)
        self._opened = opened
        self._records = self._read()

    def changes(self) -> Changes:
        if self._now() == self._identity:
            return Changes()
        self._look()
        before, now = self._records, self._read()
        self._records = now
        if before is None or now is None:
            return Changes(is_complete=False)
        by_key: dict[bytes, Optional[bytes]] = {
            key: value for key, value in now.items() if before.get(key) != value
        }
        by_key.update(dict.fromkeys(before.keys() - now.keys()))
        return Changes(by_key, len(now))

    def _read(self) -> Optional[dict[bytes, bytes]]:
        if self._identity[2] > _LARGEST_COMPARED:
            return None
        problems: list[CyrusQuotaError] = []
        with self._opened(problems.append) as db:
            records = dict(db) if db.backend == Flat.backend else None
        return None if problems else records


# Files to which transactions are appended: skiplist, twom, twoskip

#: How often a header that is being rewritten is read at a time.
HEADER_LOOKS = 5
#: So many times in a row no header could be read, and it is damage.
_PATIENCE = 20
#: Above this, reading everything again takes no longer.
_LARGEST = 1 << 28
#: In how many bytes an old record is read first, and how much more each time.
_USUAL, _MORE = 1 << 12, 16


@attrs.frozen
class LogHeader:
    """What of a header counts here. `start` is where the first transaction after a repack is."""

    generation: int
    size: int
    start: int
    records: Optional[int]


@attrs.frozen
class Appended:
    """What the end of a file says: by key, whether that is all, and how far it was read.

    `records` is the number of live records, where only reading tells.
    """

    by_key: dict[bytes, Optional[bytes]]
    is_complete: bool
    records: Optional[int]
    length: int
    gaps: frozenset[Gap] = frozenset()


def record_from(fd: int, at: int) -> Iterator[bytes]:
    """Yield the bytes from `at` on, more each time, for a record whose length is not known."""
    size = _USUAL
    while size <= _LARGEST:
        data = os.pread(fd, size, at)
        yield data
        if len(data) < size:
            return
        size *= _MORE


class FollowedLog(Followed):
    """A file to which transactions are appended; only the position within it is kept here.

    Where twoskip or twom were repacked, following goes on in the new file: nobody commits to the
    old one any more, so what it came to when it was replaced is what the new one started with.
    """

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._unsettled = 0
        self._generation = self._at = 0
        try:
            self._fd = descriptor_of(path)
        except OSError as error:
            raise source_error(error, path) from error
        #: As it was when it was last looked at, and whether nothing then explained its new time.
        self._identity = identity(os.fstat(self._fd))
        self._is_doubtful = False

    def begin(self, snapshot: Snapshot) -> None:
        then = snapshot.identity
        if then is None or then[:2] != self._identity[:2] or not snapshot.size:
            raise NeedsRescan("replaced while it was read")
        self._identity = then
        self._generation = snapshot.generation or 0
        self._at = snapshot.size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def changes(self) -> Changes:
        try:
            # The path first: what is renamed there later is seen next time.
            now, at = identity(os.stat(self._path)), self._at
            found = self._changes()
            if now[:2] != self._identity[:2]:
                return self._taken_over(found)
            if self._is_overwritten(now, is_appended=self._at != at):
                return attrs.evolve(found, is_complete=False)
            return found
        except OSError as error:
            raise source_error(error, self._path) from error
        except (struct.error, IndexError) as error:
            raise NeedsRescan("the end of the file cannot be read") from error

    def _is_overwritten(self, now: Identity, *, is_appended: bool) -> bool:
        """Return whether the file was written to and nothing was committed, as by `cp` over it.

        A transaction that is not committed yet looks the same. So nothing may come of it by the
        next look.
        """
        is_written, self._identity = now != self._identity, now
        if is_written or is_appended:
            self._is_doubtful = is_written and not is_appended
            return False
        is_doubtful, self._is_doubtful = self._is_doubtful, False
        return is_doubtful

    def _changes(self) -> Changes:
        header = self.header(self._fd)
        if header is None:
            self._unsettled += 1
            if self._unsettled > _PATIENCE:
                raise NeedsRescan("its header does not settle")
            return Changes()
        self._unsettled = 0
        if header.generation != self._generation or header.size < self._at:
            raise NeedsRescan("rewritten in place")
        return self._read(self._fd, header)

    def _read(self, fd: int, header: LogHeader) -> Changes:
        if os.fstat(fd).st_size < header.size:
            raise NeedsRescan("cut off")
        length = header.size - self._at
        if not length:
            return Changes(records=header.records)
        if length > _LARGEST:
            raise NeedsRescan("too much was appended")
        data = os.pread(fd, length, self._at)
        if len(data) < length:
            raise NeedsRescan("cut off")
        try:
            found = self.appended(fd, data, self._at)
        except Unreadable as error:
            raise NeedsRescan(f"expected {error.expected} at {self._at + error.offset}") from None
        self._at += found.length
        records = header.records if found.records is None else found.records
        return Changes(found.by_key, records, found.is_complete, found.gaps)

    def _taken_over(self, before: Changes) -> Changes:
        """Go on in a new file, if it is the next generation of this one.

        Its first `start` bytes are what the old one came to; all changes since then are behind
        them, maybe with some that the old one has too, and end as the new one has them.
        """
        fd = descriptor_of(self._path)
        try:
            status = os.fstat(fd)
            header = self.header(fd)
            if header is None:
                raise NeedsRescan("replaced, and being written to")
            if header.generation != self._generation + 1 or not header.start:
                raise NeedsRescan("replaced")
            self._at, self._generation = header.start, header.generation
            after = self._read(fd, header)
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self._fd, self._identity, self._is_doubtful = fd, identity(status), False
        return Changes({**before.by_key, **after.by_key}, after.records, is_complete=False)

    @abc.abstractmethod
    def header(self, fd: int) -> Optional[LogHeader]:
        """Return the header as it is now, None while it is being rewritten.

        Raises `NeedsRescan` where there is none.
        """

    @abc.abstractmethod
    def appended(self, fd: int, data: bytes, base: int) -> Appended:
        """Return what `data`, which stands at `base` in the file, says.

        Raises `Unreadable`, with an offset in `data`, wherever the plain reader would.
        """
