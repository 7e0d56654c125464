"""twom, the format that Cyrus 3.13 and later can use instead of twoskip (lib/twom.c).

Read as a log: a writer appends records behind current_size and moves it once the transaction is
on the disk, so whatever stands before it is complete and never changes, but for the pointers in
the heads of old records and the checksum over them. Hence the result is one committed state
however busy the writer is, without a lock. The pointers are never followed.

A head whose checksum fails may be one that is being rewritten and is read again; where it does not
settle the file is damaged, because a right tail says nothing of how many pointers come before it.
A tail whose checksum fails makes its record a problem, unless a later record names it as the one it
supersedes. Files made with the NULL checksum have nothing to check: damage in them shows only where
it breaks the log or the number of records.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, NamedTuple, NoReturn, Optional

import attrs

from cyrusquota.cyrusdb import _magic
from cyrusquota.cyrusdb.database import Database, Snapshot, differs, exactly, identity
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.errors import (
    AnyPath,
    DamagedDatabase,
    OnProblem,
    Place,
    UnsupportedBackend,
    printable,
    source_error,
)

MAGIC = _magic.TWOM

_VERSION = 1
#: magic, uuid, version, flags, generation, num_records, num_commits, dirty_size, repack_size,
#: current_size, maxlevel, checksum of all that
_HEADER = struct.Struct("<16s16sIIQQQQQQII")
_FLAGS = 3
#: The flags that say how checksums are made; without any it is XXH64, which is the low half of
#: XXH3-64. An order of its own (bit 30) does not matter to a log.
_CSUM_NULL, _CSUM_EXTERNAL = 1 << 27, 1 << 29
#: type, level, key length, value length
_START = struct.Struct("<BBHI")
_LONG = struct.Struct("<Q")
_TWO_LONGS = struct.Struct("<QQ")
_CHECKSUMS = struct.Struct("<II")
_DUMMY, _ADD, _FATADD, _REPLACE, _FATREPLACE, _DELETE, _COMMIT = range(1, 8)
#: Where the pointers start, and where the offset of the superseded record stands, by type.
_POINTERS = {_DUMMY: 8, _ADD: 8, _FATADD: 24, _REPLACE: 16, _FATREPLACE: 32, _DELETE: 8, _COMMIT: 8}
_ANCESTOR = {_REPLACE: 8, _FATREPLACE: 24, _DELETE: 8}
#: Types that store a key and a value; the fat ones have their lengths behind the start.
_STORES = frozenset((_ADD, _FATADD, _REPLACE, _FATREPLACE))
_FAT = frozenset((_FATADD, _FATREPLACE))
_DUMMY_SIZE = 272
_MAX_LEVEL = 31
_ALIGN = 8

#: A header or record head caught while it is being rewritten is right again in an instant.
_TRIES, _PAUSE = 40, 0.005
_REPAIR = "stop Cyrus and let `ctl_cyrusdb -r` repair it, or restore it from db.backup1"


@attrs.frozen
class _Header:
    generation: int
    num_records: int
    current_size: int
    flags: int


class _Head(NamedTuple):
    """The head of a record: what it is, and where its key and value lie."""

    kind: int
    pointers: int
    checksums: int
    key: int
    key_end: int
    value: int
    value_end: int
    end: int


class Twom(Database):
    """A twom file as it was at one commit."""

    backend = "twom"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        try:
            with Path(path).open("rb", buffering=0) as file:
                self._identity = identity(os.fstat(file.fileno()))
                self._header = self._read_header(file)
                file.seek(0)
                self._data = exactly(file, self._header.current_size)
                if len(self._data) < self._header.current_size:
                    self._fail(len(self._data), f"{self._header.current_size} committed bytes")
                self._live = self._live_records(file)
        except OSError as error:
            raise source_error(error, path) from error

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        data = self._data
        for key, at in self._live.items():
            head = _head(data, at)
            yield key, data[head.value : head.value_end]

    def snapshot(self) -> Snapshot:
        header = self._header
        records, inode = len(self._live), self._identity[:2]
        return Snapshot(self.backend, header.current_size, records, header.generation, inode)

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _read_header(self, file: BinaryIO) -> _Header:
        if self._identity[2] == 0:
            return _Header(0, 0, 0, 0)
        raw = self._settled_header(file)
        _, _, version, flags, generation, records, _, _, _, size, _, _ = _HEADER.unpack(raw)
        if version > _VERSION:
            raise self._unsupported(f"twom of version {version}, and this program knows {_VERSION}")
        if version != _VERSION:
            self._fail(32, f"version {_VERSION}", raw[32:36])
        present = os.fstat(file.fileno()).st_size
        if size < _HEADER.size + _DUMMY_SIZE or size % _ALIGN or size > present:
            self._fail(80, f"a committed size within the file's {present} bytes", raw[80:88])
        return _Header(generation, records, size, flags)

    def _settled_header(self, file: BinaryIO) -> bytes:
        """The header, vouched for by its checksum, or by reading the same twice without one."""
        before = b""
        for attempt in range(_TRIES):
            time.sleep(_PAUSE if attempt > 1 else 0)
            file.seek(0)
            raw = exactly(file, _HEADER.size)
            if len(raw) < _HEADER.size or not raw.startswith(MAGIC):
                self._fail(0, "a twom header", raw)
            fields = _HEADER.unpack(raw)
            flags, found = fields[_FLAGS], fields[-1]
            if flags & _CSUM_EXTERNAL:
                raise self._unsupported("twom with checksums that only one program can check")
            if found == _checksum(flags, raw[:-4]) and (raw == before or not flags & _CSUM_NULL):
                break
            before = raw
        else:
            self._fail(_HEADER.size - 4, "the checksum of the header", raw[-4:])
        return raw

    def _unsupported(self, what: str) -> UnsupportedBackend:
        where = printable(os.path.abspath(self.path))
        return UnsupportedBackend(
            f"{where}: {what};"
            f" dump it with: cyr_dbtool {where} twom show | cyrusquota-export --dump - ..."
        )

    def _live_records(self, file: BinaryIO) -> dict[bytes, int]:
        """Where the live version of each key starts."""
        if not self._data:
            return {}
        log = _Log(self._data, file, self._header.flags)
        try:
            log.read()
        except _Unreadable as broken:
            self._fail(broken.offset, broken.expected)
        for at in log.damaged:
            head = _head(self._data, at)
            expected = "the checksum of the live record"
            if self._data[head.key_end]:
                expected = "a NUL behind the key (before 2026 keys of 64 KiB were cut)"
            self._report(at, expected, self._data[head.key : head.key_end])
        if len(log.live) + len(log.damaged) != self._header.num_records:
            self._report(48, f"{self._header.num_records} live records, as the header has", None)
        return log.live

    def _report(self, offset: int, expected: str, key: Optional[bytes]) -> None:
        place = Place(str(self.path), offset=offset, key=key)
        self._on_problem(DamagedDatabase(expected, place=place, advice=_REPAIR))

    def _fail(self, offset: int, expected: str, found: Optional[bytes] = None) -> NoReturn:
        place = Place(str(self.path), offset=offset)
        raise DamagedDatabase(expected, place=place, found=found, advice=_REPAIR)


class _Unreadable(Exception):
    """A record that cannot be told apart from rubbish, or does not fit those before it."""

    def __init__(self, offset: int, expected: str) -> None:
        self.offset = offset
        self.expected = expected


class _Log:
    """The records of a file in the order they were written.

    `live` has the offset of the last version of each key, `damaged` the offsets of records whose
    key and value are not to be trusted and that nothing is known to have superseded.
    """

    def __init__(self, data: bytes, file: BinaryIO, flags: int) -> None:
        self._data = data
        self._file = file
        self._flags = flags
        self.live: dict[bytes, int] = {}
        self.damaged: dict[int, None] = {}

    def read(self) -> None:
        """Find out what is live; raises `_Unreadable`."""
        again = _settled(self._file.fileno(), self._flags)
        for at, head in _records(self._data, _HEADER.size, self._flags, again):
            if head.kind in _STORES:
                self._store(at, head)
            elif head.kind == _DELETE:
                self._supersede(at, _ancestor(self._data, at, head))

    def _store(self, at: int, head: _Head) -> None:
        ancestor = _ancestor(self._data, at, head)
        if _tail_is_right(self._flags, self._data, head):
            self.damaged.pop(ancestor, None)
            self.live[self._data[head.key : head.key_end]] = at
        else:
            if ancestor and _kind(self._data, ancestor) != _DELETE:
                self._supersede(at, ancestor)
            self.damaged[at] = None

    def _supersede(self, at: int, ancestor: int) -> None:
        """The key of the record at `ancestor` is not there any more, says the one at `at`."""
        if ancestor in self.damaged:
            del self.damaged[ancestor]
            return
        if ancestor < at and _kind(self._data, ancestor) in _STORES:
            head = _head(self._data, ancestor)
            key = self._data[head.key : head.key_end]
            if self.live.get(key) == ancestor:
                del self.live[key]
                return
        raise _Unreadable(at, f"a live record at the offset {ancestor} that it names")


#: Reads a number of bytes at an offset of the file until the checksum behind them is right.
_Settle = Callable[[int, int], Optional[bytes]]


def _settled(descriptor: int, flags: int) -> _Settle:
    """Return a function that reads a record head again until the writer has done with it."""

    def settle(at: int, length: int) -> Optional[bytes]:
        for attempt in range(_TRIES):
            time.sleep(_PAUSE if attempt else 0)
            raw = os.pread(descriptor, length + _CHECKSUMS.size, at)
            if len(raw) < length + _CHECKSUMS.size:
                return None
            if _checksum(flags, raw[:length]) == _CHECKSUMS.unpack(raw[length:])[0]:
                return raw
        return None

    return settle


def _records(
    data: bytes, start: int, flags: int, settle: _Settle, base: int = 0
) -> Iterator[tuple[int, _Head]]:
    """Yield offset and head of each record of `data`, which stands at `base` in the file.

    Each is one whose head a checksum vouches for; raises `_Unreadable` for any other.
    """
    at, end = start, len(data)
    while at < end:
        head = _checked_head(data, at, flags, settle, base)
        if (head.kind == _DUMMY) != (base + at == _HEADER.size):
            raise _Unreadable(at, "a type of record")
        yield at, head
        at = head.end


def _checked_head(data: bytes, at: int, flags: int, settle: _Settle, base: int = 0) -> _Head:
    """Return the head of the record at `at`, vouched for by its checksum."""
    head = _head(data, at)
    if _checksum(flags, data[at : head.checksums]) == _stored(data, head)[0]:
        return head
    if head.kind == _DUMMY:
        # Always of one size, with nothing but pointers in it.
        is_rewritten = head.end == at + _DUMMY_SIZE
    else:
        # Nothing of a DELETE or COMMIT is ever rewritten; of others, only the pointers.
        again = settle(base + at, head.checksums - at) if head.kind in _STORES else None
        length = head.pointers - at
        is_rewritten = again is not None and again[:length] == data[at : head.pointers]
    if not is_rewritten:
        raise _Unreadable(at, "the checksum of a record's head")
    return head


def _tail_is_right(flags: int, data: bytes, head: _Head) -> bool:
    # Nothing but NULs behind the key and the value, or their lengths are not right.
    return (
        _checksum(flags, data[head.key : head.end]) == _stored(data, head)[1]
        and not data[head.key_end]
        and not any(data[head.value_end : head.end])
    )


def _checksum(flags: int, data: bytes) -> int:
    return 0 if flags & _CSUM_NULL else checksum(data)


def _head(data: bytes, at: int) -> _Head:
    """The head of the record at `at`; raises `_Unreadable` where it cannot be one."""
    if at + _START.size > len(data):
        raise _Unreadable(at, "a record within the committed size")
    kind, level, key_length, value_length = _START.unpack_from(data, at)
    if kind not in _POINTERS or level > _MAX_LEVEL:
        raise _Unreadable(at, "a record")
    pointers = at + _POINTERS[kind]
    checksums = pointers + _LONG.size * (level + 1)
    key = checksums + _CHECKSUMS.size
    if key > len(data):
        raise _Unreadable(at, "a record within the committed size")
    if kind not in _STORES:
        return _Head(kind, pointers, checksums, key, key, key, key, key)
    if kind in _FAT:
        key_length, value_length = _TWO_LONGS.unpack_from(data, at + _START.size)
    key_end = key + key_length
    value = key_end + 1
    value_end = value + value_length
    end = value_end + 1 + -(key_length + value_length + 2) % _ALIGN
    if end > len(data):
        raise _Unreadable(at, "a record within the committed size")
    return _Head(kind, pointers, checksums, key, key_end, value, value_end, end)


def _stored(data: bytes, head: _Head) -> tuple[int, int]:
    """The checksums of the head and the tail that stand in the record."""
    of_head, of_tail = _CHECKSUMS.unpack_from(data, head.checksums)
    return of_head, of_tail


def _ancestor(data: bytes, at: int, head: _Head) -> int:
    """The offset of the record that the one at `at` supersedes; 0: none."""
    if head.kind not in _ANCESTOR:
        return 0
    found: int = _LONG.unpack_from(data, at + _ANCESTOR[head.kind])[0]
    return found


def _kind(data: bytes, at: int) -> int:
    return data[at] if at < len(data) else 0
