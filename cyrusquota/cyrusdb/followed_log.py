"""Follow a file to which transactions are appended: skiplist, twom, twoskip."""

from __future__ import annotations

import abc
import os
import struct
from typing import Iterator, Optional

import attrs

from cyrusquota.cyrusdb.database import Identity, Snapshot, Unreadable, descriptor_of, identity
from cyrusquota.cyrusdb.follow import Changes, Followed, Gap, NeedsRescan
from cyrusquota.errors import AnyPath, source_error

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
