"""Formats that append what they commit: twoskip, twom and skiplist.

The records are those of the readers beside; only the position within the file is kept here. Where
twoskip or twom were repacked, following goes on in the new file: nobody commits to the old one any
more, so what it came to when it was replaced is what the new one started with.
"""

from __future__ import annotations

import abc
import os
import struct
import time
from typing import Callable, Optional
from zlib import crc32

import attrs

from cyrusquota.cyrusdb import skiplist, twom, twoskip
from cyrusquota.cyrusdb._database import Snapshot
from cyrusquota.cyrusdb.tail._tail import Changes, Lost, Tail
from cyrusquota.errors import AnyPath, source_error

#: Looks at a header that is being rewritten, and seconds between them.
_TRIES, _PAUSE = 5, 0.002
#: So many times in a row no header could be read, and it is damage.
_PATIENCE = 20
#: More than this appended at once is read anew as a whole just as well.
_MOST = 1 << 28


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
        again = _settled(fd, base)
        at, end = 0, len(data)
        while at < end:
            if data.startswith(twoskip._BLANK, at):
                at += len(twoskip._BLANK)
                continue
            try:
                head = twoskip._checked_head(data, at, again)
            except twoskip._Unreadable as error:
                raise Lost(f"expected {error.expected} at {base + error.offset}") from None
            if head.kind == twoskip._RECORD:
                if not twoskip._tail_is_right(data, head):
                    raise Lost(f"a wrong checksum at {base + at}")
                by_key[data[head.key : head.value]] = data[head.value : head.tail]
            elif head.kind == twoskip._DELETE:
                is_complete = False
            elif head.kind != twoskip._COMMIT:
                raise Lost(f"no type of record at {base + at}")
            at = head.end
        return by_key, is_complete, None, end


def _settled(fd: int, base: int) -> Callable[[int, int], Optional[bytes]]:
    """What twoskip reads a record head again with, for data that stands at `base`."""

    def settle(at: int, length: int) -> Optional[bytes]:
        for attempt in range(_TRIES):
            time.sleep(_PAUSE if attempt else 0)
            raw = os.pread(fd, length + 8, base + at)
            if len(raw) == length + 8 and crc32(raw[:length]) == int.from_bytes(raw[-8:-4], "big"):
                return raw
        return None

    return settle


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
        by_key: dict[bytes, Optional[bytes]] = {}
        at, end = 0, len(data)
        while at < end:
            try:
                head = twom._head(data, at)
            except twom._Unreadable as error:
                raise Lost(f"expected {error.expected} at {base + error.offset}") from None
            if head.kind in twom._STORES:
                right = twom._checksum(self._flags, data[head.key : head.end])
                if right != twom._stored(data, head)[1] or data[head.key_end]:
                    raise Lost(f"a wrong checksum at {base + at}")
                by_key[data[head.key : head.key_end]] = data[head.value : head.value_end]
            elif head.kind == twom._DELETE:
                by_key[self._key(fd, twom._ancestor(data, at, head))] = None
            elif head.kind != twom._COMMIT:
                raise Lost(f"no type of record at {base + at}")
            at = head.end
        return by_key, True, None, end

    def _key(self, fd: int, at: int) -> bytes:
        """The key of the record at `at`, which may be an old one."""
        start = os.pread(fd, 32, at)
        kind, level, length, _ = twom._START.unpack_from(start)
        if kind not in twom._STORES or level > twom._MAX_LEVEL:
            raise Lost(f"no record at {at}")
        if kind in twom._FAT:
            length, _ = twom._TWO_LONGS.unpack_from(start, twom._START.size)
        behind = twom._LONG.size * (level + 1) + twom._CHECKSUMS.size
        return os.pread(fd, length, at + twom._POINTERS[kind] + behind)


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
        log = _Appended(data, base, lambda at: self._key(fd, at))
        try:
            log._transactions(0)
        except skiplist._Unreadable as error:
            raise Lost(f"expected {error.expected} at {base + error.offset}") from None
        self._records += log.more
        return log.by_key, True, self._records, log.committed

    def _key(self, fd: int, at: int) -> bytes:
        kind, length = skiplist._START.unpack(os.pread(fd, skiplist._START.size, at))
        if kind not in (skiplist._INORDER, skiplist._ADD):
            raise Lost(f"no record at {at}")
        return os.pread(fd, length, at + skiplist._START.size)


class _Appended(skiplist._Log):
    """The transactions at the end of a file; offsets count from there."""

    def __init__(self, data: bytes, base: int, key_at: Callable[[int], bytes]) -> None:
        super().__init__(data)
        self._base = base
        self._key_at = key_at
        self.by_key: dict[bytes, Optional[bytes]] = {}
        #: How many live records were added, less those removed.
        self.more = 0

    def _deleted(self, at: int) -> int:
        if at + skiplist._START.size > len(self._data):
            raise skiplist._Unfinished
        offset: int = skiplist._START.unpack_from(self._data, at)[1] - self._base
        if offset < 0:
            self._keys[offset] = self._key_at(offset + self._base)
        elif offset not in self._keys:
            raise skiplist._Unreadable(at, "the offset of a record")
        return offset

    def _set(self, offset: int) -> None:
        key = self._keys[offset]
        start = skiplist._value_at(offset, len(key))
        (length,) = skiplist._WORD.unpack_from(self._data, start - skiplist._WORD.size)
        self.by_key[key] = self._data[start : start + length]
        self.more += 1

    def _delete(self, at: int, offset: int) -> None:
        self.by_key[self._keys[offset]] = None
        self.more -= 1


TAILS: dict[str, type[LogTail]] = {
    skiplist.Skiplist.backend: SkiplistTail,
    twom.Twom.backend: TwomTail,
    twoskip.Twoskip.backend: TwoskipTail,
}
