"""Formats that append what they commit: twoskip, twom and skiplist.

The records are those of the readers beside; only the position within the file is kept here. Where
twoskip or twom were repacked, following goes on in the new file: nobody commits to the old one any
more, so what it came to when it was replaced is what the new one started with.
"""

from __future__ import annotations

import abc
import contextlib
import os
import struct
import time
from typing import Optional
from zlib import crc32

import attrs

from cyrusquota.cyrusdb.database import Snapshot
from cyrusquota.cyrusdb.follow import Changes, Lost, Tail
from cyrusquota.cyrusdb.skiplist import reader as skiplist
from cyrusquota.cyrusdb.twom import reader as twom
from cyrusquota.cyrusdb.twoskip import reader as twoskip
from cyrusquota.errors import AnyPath, source_error

#: Looks at a header that is being rewritten, and seconds between them.
_TRIES, _PAUSE = 5, 0.002
#: So many times in a row no header could be read, and it is damage.
_PATIENCE = 20
#: More than this appended at once is read anew as a whole just as well.
_MOST = 1 << 28
#: A record that a deletion names is read in so many bytes, and in more where it is longer.
_USUAL = 1 << 12


@attrs.frozen
class _Header:
    """What of a header counts here. `start` is where the first transaction after a repack is."""

    generation: int
    size: int
    start: int
    records: Optional[int]


class LogTail(Tail):
    """A file to which transactions are appended."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._unsettled = 0
        self._generation = self._at = 0
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise source_error(error, path) from error
        status = os.fstat(self._fd)
        self._inode = status.st_dev, status.st_ino

    def begin(self, snapshot: Snapshot) -> None:
        if snapshot.inode != self._inode or not snapshot.size:
            raise Lost("replaced while it was read")
        self._generation = snapshot.generation or 0
        self._at = snapshot.size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def changes(self) -> Changes:
        try:
            # The path first: what is renamed there later is seen next time.
            status = os.stat(self._path)
            found = self._appended()
            if (status.st_dev, status.st_ino) == self._inode:
                return found
            return self._taken_over(found)
        except OSError as error:
            raise source_error(error, self._path) from error
        except (struct.error, IndexError) as error:
            raise Lost("the end of the file cannot be read") from error

    def _appended(self) -> Changes:
        header = self._header(self._fd)
        if header is None:
            self._unsettled += 1
            if self._unsettled > _PATIENCE:
                raise Lost("its header does not settle")
            return Changes()
        self._unsettled = 0
        if header.generation != self._generation or header.size < self._at:
            raise Lost("rewritten in place")
        return self._read(self._fd, header)

    def _read(self, fd: int, header: _Header) -> Changes:
        if os.fstat(fd).st_size < header.size:
            raise Lost("cut off")
        length = header.size - self._at
        if not length:
            return Changes(records=header.records)
        if length > _MOST:
            raise Lost("too much was appended")
        data = os.pread(fd, length, self._at)
        if len(data) < length:
            raise Lost("cut off")
        by_key, is_complete, records, end = self._parsed(fd, data, self._at)
        self._at += end
        return Changes(by_key, header.records if records is None else records, is_complete)

    def _taken_over(self, before: Changes) -> Changes:
        """Go on in a new file, if it is the next generation of this one.

        Its first `start` bytes are what the old one came to; all changes since then are behind
        them, maybe with some that the old one has too, and end as the new one has them.
        """
        fd = os.open(self._path, os.O_RDONLY)
        try:
            status = os.fstat(fd)
            header = self._header(fd)
            if header is None:
                raise Lost("replaced, and being written to")
            if header.generation != self._generation + 1 or not header.start:
                raise Lost("replaced")
            self._at, self._generation = header.start, header.generation
            after = self._read(fd, header)
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self._fd, self._inode = fd, (status.st_dev, status.st_ino)
        return Changes({**before.by_key, **after.by_key}, after.records, is_complete=False)

    @abc.abstractmethod
    def _header(self, fd: int) -> Optional[_Header]:
        """The header as it is now, None while it is being rewritten; raises `Lost` for none."""

    @abc.abstractmethod
    def _parsed(self, fd: int, data: bytes, base: int) -> _Parsed:
        """What `data`, which stands at `base` in the file, says."""


#: By key, whether that is all, the number of live records if known, and how far it was read.
_Parsed = tuple[dict[bytes, Optional[bytes]], bool, Optional[int], int]


class TwoskipTail(LogTail):
    """A twoskip file. Its deletions do not name their key, so they are changes besides."""

    def _header(self, fd: int) -> Optional[_Header]:
        for attempt in range(_TRIES):
            time.sleep(_PAUSE if attempt else 0)
            raw = os.pread(fd, twoskip._HEADER.size, 0)
            if not raw.startswith(twoskip.MAGIC) or len(raw) < twoskip._HEADER.size:
                raise Lost("no twoskip file any more")
            _, version, generation, records, start, size, flags, crc = twoskip._HEADER.unpack(raw)
            if crc32(raw[:-4]) == crc:
                if version != twoskip._VERSION:
                    raise Lost("another version")
                is_dirty = flags & twoskip._DIRTY
                return _Header(generation, size, start, None if is_dirty else records)
        return None

    def _parsed(self, fd: int, data: bytes, base: int) -> _Parsed:
        by_key: dict[bytes, Optional[bytes]] = {}
        is_complete = True
        try:
            for _, head in twoskip._records(data, 0, twoskip._settled(fd), base):
                if head.kind == twoskip._RECORD:
                    by_key[data[head.key : head.value]] = data[head.value : head.tail]
                elif head.kind == twoskip._DELETE:
                    is_complete = False
        except twoskip._Unreadable as error:
            raise Lost(f"expected {error.expected} at {base + error.offset}") from None
        return by_key, is_complete, None, len(data)


class TwomTail(LogTail):
    """A twom file. A deletion names the record that it is about."""

    def _header(self, fd: int) -> Optional[_Header]:
        before = b""
        for attempt in range(_TRIES):
            time.sleep(_PAUSE if attempt > 1 else 0)
            raw = os.pread(fd, twom._HEADER.size, 0)
            if not raw.startswith(twom.MAGIC) or len(raw) < twom._HEADER.size:
                raise Lost("no twom file any more")
            fields = twom._HEADER.unpack(raw)
            _, _, version, flags, generation, records, _, _, start, size, _, found = fields
            is_unchecked = flags & twom._CSUM_NULL
            if found == twom._checksum(flags, raw[:-4]) and (not is_unchecked or raw == before):
                if version != twom._VERSION or flags & twom._CSUM_EXTERNAL:
                    raise Lost("another version")
                self._flags: int = flags
                return _Header(generation, size, start, records)
            before = raw
        return None

    def _parsed(self, fd: int, data: bytes, base: int) -> _Parsed:
        appended = _AppendedTwom(fd, data, base, self._flags)
        try:
            is_complete = appended.read()
        except twom._Unreadable as error:
            raise Lost(f"expected {error.expected} at {base + error.offset}") from None
        return appended.by_key, is_complete, None, len(data)


class _AppendedTwom:
    """What was appended to a twom file, at `base`."""

    def __init__(self, fd: int, data: bytes, base: int, flags: int) -> None:
        self._fd = fd
        self._data = data
        self._base = base
        self._flags = flags
        self._settle = twom._settled(fd, flags)
        self.by_key: dict[bytes, Optional[bytes]] = {}
        #: The offset in the file of each record stored, by key; 0 where it was deleted.
        self._stored: dict[bytes, int] = {}

    def read(self) -> bool:
        """Return whether that is all; raises `twom._Unreadable`."""
        data, is_complete = self._data, True
        for at, head in twom._records(data, 0, self._flags, self._settle, self._base):
            if head.kind in twom._STORES:
                if not twom._tail_is_right(self._flags, data, head):
                    raise twom._Unreadable(at, "the checksum of a record")
                key = data[head.key : head.key_end]
                self.by_key[key] = data[head.value : head.value_end]
                self._stored[key] = self._base + at
            elif head.kind == twom._DELETE and self._flags & twom._CSUM_NULL:
                # Nothing tells then whether it names the right record.
                is_complete = False
            elif head.kind == twom._DELETE:
                self._delete(at, twom._ancestor(data, at, head))
        return is_complete

    def _delete(self, at: int, ancestor: int) -> None:
        """Note that the key of the record at `ancestor` is gone, says the one at `at`."""
        key = self._key(ancestor) if 0 < ancestor < self._base + at else None
        if key is None or self._stored.get(key, ancestor) != ancestor:
            raise twom._Unreadable(at, f"a live record at the offset {ancestor} that it names")
        self.by_key[key] = None
        self._stored[key] = 0

    def _key(self, at: int) -> Optional[bytes]:
        """The key of the record at `at`, which may be an old one; None where none is right."""
        size = _USUAL
        while size <= _MOST:
            data = os.pread(self._fd, size, at)
            try:
                head = twom._checked_head(data, 0, self._flags, self._settle, at)
            except twom._Unreadable:
                if len(data) < size:
                    return None
                size *= 16
                continue
            is_right = head.kind in twom._STORES and twom._tail_is_right(self._flags, data, head)
            return data[head.key : head.key_end] if is_right else None
        return None


class SkiplistTail(LogTail):
    """A skiplist file. A checkpoint makes a new one and cuts the old one to nothing."""

    def _header(self, fd: int) -> Optional[_Header]:
        raw = os.pread(fd, skiplist._HEADER.size, 0)
        if not raw.startswith(skiplist.MAGIC) or len(raw) < skiplist._HEADER.size:
            raise Lost("no skiplist file any more")
        recovered = skiplist._HEADER.unpack(raw)[-1]
        # The size is all that tells what was appended, and some of that may not be committed.
        return _Header(recovered, os.fstat(fd).st_size, 0, None)

    def begin(self, snapshot: Snapshot) -> None:
        super().begin(snapshot)
        self._records = snapshot.records or 0

    def _parsed(self, fd: int, data: bytes, base: int) -> _Parsed:
        log = _AppendedSkiplist(fd, data, base)
        try:
            log._transactions(0)
        except skiplist._Unreadable as error:
            raise Lost(f"expected {error.expected} at {base + error.offset}") from None
        self._records += log.more
        return log.by_key, log.is_complete, self._records, log.committed


class _AppendedSkiplist(skiplist._Log):
    """The transactions at the end of a file; offsets count from there.

    Without checksums, whether a key is live is all that shows a wrong one, and that is not known
    here. Only a DELETE and an ADD of the same key, which is how a value is replaced, prove one
    another. Other keys are left out, and a full reading has to tell.
    """

    def __init__(self, fd: int, data: bytes, base: int) -> None:
        super().__init__(data)
        self._fd = fd
        self._base = base
        self.by_key: dict[bytes, Optional[bytes]] = {}
        self.is_complete = True
        #: How many live records were added, less those removed.
        self.more = 0

    def _deleted(self, at: int) -> int:
        if at + skiplist._START.size > len(self._data):
            raise skiplist._Unfinished
        offset: int = skiplist._START.unpack_from(self._data, at)[1] - self._base
        if offset < 0:
            self._keys[offset] = self._key_before(at, offset + self._base)
        elif offset not in self._keys:
            raise skiplist._Unreadable(at, "the offset of a record")
        return offset

    def _key_before(self, at: int, offset: int) -> bytes:
        """The key of the record at `offset` of the file, which the DELETE at `at` is about."""
        size = _USUAL
        while not offset % skiplist._ALIGN and size <= _MOST:
            log = skiplist._Log(os.pread(self._fd, size, offset))
            for kind in (skiplist._INORDER, skiplist._ADD):
                with contextlib.suppress(skiplist._Unreadable, skiplist._Unfinished):
                    log._record(0, kind)
                    return log._keys[0]
            size *= 16
        raise skiplist._Unreadable(at, "the offset of a record")

    def _apply(self, transaction: list[tuple[int, int]]) -> None:
        steps = iter(transaction)
        step = next(steps, None)
        while step is not None:
            (at, offset), following = step, next(steps, None)
            key = self._keys[offset]
            is_added = at == offset
            if is_added or following is None or following[0] != following[1]:
                self._doubt(key, 1 if is_added else -1)
            elif self._keys[following[1]] != key:
                self._doubt(key, -1)
            else:
                self.by_key[key] = self._value(following[1], key)
                following = next(steps, None)
            step = following

    def _doubt(self, key: bytes, more: int) -> None:
        self.is_complete = False
        self.by_key.pop(key, None)
        self.more += more

    def _value(self, offset: int, key: bytes) -> bytes:
        start = skiplist._value_at(offset, len(key))
        (length,) = skiplist._WORD.unpack_from(self._data, start - skiplist._WORD.size)
        return self._data[start : start + length]


TAILS: dict[str, type[LogTail]] = {
    skiplist.Skiplist.backend: SkiplistTail,
    twom.Twom.backend: TwomTail,
    twoskip.Twoskip.backend: TwoskipTail,
}
