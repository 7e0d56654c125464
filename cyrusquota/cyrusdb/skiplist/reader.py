"""skiplist, the format of most databases up to Cyrus 2.4 (lib/cyrusdb_skiplist.c).

Read as a log, not along its pointers: the records of the last checkpoint, in order, and behind
them the transactions since, each ended by a COMMIT. Keys, values and record sizes never change once
written, so what was committed before the file was read is right however busy the writer is,
without a lock. What follows the last COMMIT is a transaction under way, or one that a killed
writer left behind, and is dropped.

A checkpoint puts a new file in place and then cuts the old one to nothing; a reading that this, or
an abort, has come across is made again.

The format has no checksums: a changed byte within a key or a value cannot be noticed, nor can the
loss of whole transactions at the end of the file. Everything that has a rule is held to it. Where
a record cannot be read, whatever follows it may have replaced any of the others, so nothing is
handed out: `DamagedDatabase` is raised. Only a log that can be read and contradicts itself about
single keys costs no more than those.
"""

from __future__ import annotations

import os
import re
import struct
import time
from pathlib import Path
from typing import Iterator, NoReturn, Optional

from cyrusquota.cyrusdb import _magic
from cyrusquota.cyrusdb.database import Database, Identity, Snapshot, differs, identity
from cyrusquota.errors import (
    AnyPath,
    DamagedDatabase,
    OnProblem,
    Place,
    SourceError,
    printable,
    source_error,
)

# The layout, the same in all versions (lib/cyrusdb_skiplist.c).
MAGIC = _magic.SKIPLIST

_VERSION = 1
#: magic, version, minor version, maxlevel, curlevel, listsize, logstart, last_recovery
_HEADER = struct.Struct(">20sIIIIIII")
#: type, and the length of the key or, in a DELETE, the offset of the record deleted
_START = struct.Struct(">II")
_WORD = struct.Struct(">I")
_INORDER, _ADD, _DELETE, _COMMIT, _DUMMY = 1, 2, 4, 255, 257
_MAX_LEVEL = 20
#: What ends the pointers of a record.
_PADDING = b"\xff\xff\xff\xff"
_ALIGN = 4

#: Offsets are multiples of 4, so this is what the last bytes of pointers can be.
_LAST_BYTES = bytes(range(0, 256, _ALIGN))
#: The end of a transaction whose last record is an ADD, or a DELETE.
_COMMITTED = re.compile(rb"\xff\xff\xff\xff\0\0\0\xff|\0\0\0\x04.{4}\0\0\0\xff\Z", re.DOTALL)
_NOT_ZERO = re.compile(rb"[^\0]")

_TRIES, _PAUSE = 10, 0.005
_REPAIR = "stop Cyrus and let `ctl_cyrusdb -r` repair it, or restore it from db.backup1"


class _Unreadable(Exception):
    """What stands at an offset cannot be a record."""

    def __init__(self, offset: int, expected: str, found: Optional[bytes] = None) -> None:
        self.offset = offset
        self.expected = expected
        self.found = found


class _Unfinished(Exception):
    """The file ends before the record does."""


class Skiplist(Database):
    """A skiplist file as it was at one commit."""

    backend = "skiplist"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        for left in reversed(range(_TRIES)):
            self._data, self._identity, undisturbed = _reading(path)
            self._log = _Log(self._data)
            try:
                self._log.read()
                break
            except _Unreadable as unreadable:
                if undisturbed or not left:
                    self._fail(unreadable)
        self._report_doubts()

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        data = self._data
        for key, at in self._log.live.items():
            start = _value_at(at, len(key))
            (length,) = _WORD.unpack_from(data, start - _WORD.size)
            yield key, data[start : start + length]

    def snapshot(self) -> Snapshot:
        log = self._log
        inode = self._identity[:2]
        return Snapshot(self.backend, log.committed, len(log.live), log.last_recovery, inode)

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _report_doubts(self) -> None:
        for key, (offset, expected) in self._log.doubts.items():
            self._log.live.pop(key, None)
            place = Place(str(self.path), offset=offset, key=key)
            self._on_problem(DamagedDatabase(expected, place=place, advice=_REPAIR))

    def _fail(self, unreadable: _Unreadable) -> NoReturn:
        place = Place(str(self.path), offset=unreadable.offset)
        raise DamagedDatabase(
            unreadable.expected, place=place, found=unreadable.found, advice=_REPAIR
        ) from unreadable


def _reading(path: AnyPath) -> tuple[bytes, Identity, bool]:
    """All of the file that is at `path`, its identity just before, and whether nobody wrote.

    Made again where the file was written to, cut or replaced meanwhile: the copy may have come up
    short. Where it does nothing but grow the last copy is taken: all but its end is sure.
    """
    for left in reversed(range(_TRIES)):
        try:
            with Path(path).open("rb", buffering=0) as file:
                then = identity(os.fstat(file.fileno()))
                data = file.read()
                now = identity(os.stat(path))
        except OSError as error:
            raise source_error(error, path) from error
        has_grown = now[:2] == then[:2] and now[2] >= then[2] and len(data) >= then[2]
        if now == then or (has_grown and not left):
            return data, then, now == then
        time.sleep(_PAUSE)
    raise SourceError(f"{printable(str(path))}: is being replaced all the time; try again later")


def _padded(length: int) -> int:
    return length + -length % _ALIGN


def _value_at(at: int, key_length: int) -> int:
    """Where the value starts of the record at `at`."""
    return at + _START.size + _padded(key_length) + _WORD.size


class _Log:
    """The records of a file in the order they were written."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        #: The key of each record met, by its offset, dead ones too.
        self._keys: dict[int, bytes] = {}
        #: Where the record of each live key starts.
        self.live: dict[bytes, int] = {}
        #: Keys whose last change does not fit what went before: where, and what was expected.
        self.doubts: dict[bytes, tuple[int, str]] = {}
        #: Where the last transaction ends.
        self.committed = 0
        self.last_recovery: Optional[int] = None

    def read(self) -> None:
        """Find out what is live; raises `_Unreadable`. An empty file is an empty database."""
        if not self._data:
            return
        at, log_start = self._start()
        while at < log_start:
            try:
                at = self._record(at, _INORDER)
            except _Unfinished:
                raise _Unreadable(at, "a whole record") from None
        if at != log_start:
            raise _Unreadable(at, f"a record that ends where the log starts, at {log_start}")
        for offset in self._keys:
            self._set(offset)
        self.committed = at
        self._transactions(at)

    def _start(self) -> tuple[int, int]:
        """Where the records and the log start."""
        data = self._data
        if len(data) < _HEADER.size or not data.startswith(MAGIC):
            raise _Unreadable(0, "a skiplist header", data[: _HEADER.size])
        _, version, _, max_level, level, _, log_start, recovered = _HEADER.unpack_from(data)
        if version != _VERSION:
            raise _Unreadable(20, f"version {_VERSION}", data[20:24])
        if not 1 <= max_level <= _MAX_LEVEL or level > max_level:
            raise _Unreadable(28, f"levels up to {_MAX_LEVEL}", data[28:36])
        try:
            at, levels = self._pointers_end(_value_at(_HEADER.size, 0))
        except _Unfinished:
            raise _Unreadable(_HEADER.size, "a whole dummy record") from None
        dummy = _START.unpack_from(data, _HEADER.size)
        empty = _WORD.unpack_from(data, _HEADER.size + _START.size)
        if (*dummy, *empty) != (_DUMMY, 0, 0) or levels != max_level:
            raise _Unreadable(_HEADER.size, f"a dummy record of {max_level} levels")
        if not at <= log_start <= len(data) or log_start % _ALIGN:
            expected = f"a start of the log within the file's {len(data)} bytes"
            raise _Unreadable(40, expected, data[40:44])
        self.last_recovery = recovered
        return at, log_start

    def _transactions(self, at: int) -> None:
        """Apply each transaction that has its COMMIT; `at` is where the log starts."""
        data, size = self._data, len(self._data)
        #: What the transaction under way does: offset of a DELETE or ADD, and whose record.
        pending: list[tuple[int, int]] = []
        while at + _WORD.size <= size:
            (kind,) = _WORD.unpack_from(data, at)
            try:
                if kind == _ADD:
                    pending.append((at, at))
                    at = self._record(at, _ADD)
                elif kind == _DELETE:
                    pending.append((at, self._deleted(at)))
                    at += _START.size
                elif kind == _COMMIT:
                    self._apply(pending)
                    pending.clear()
                    at += _WORD.size
                    self.committed = at
                elif kind == 0:
                    at = self._zeros_end(at, bool(pending))
                else:
                    raise _Unreadable(at, "a type of record", data[at : at + _WORD.size])
            except _Unfinished:
                if _COMMITTED.search(data, at + _START.size):
                    raise _Unreadable(at, "a whole record, as a commit follows") from None
                return

    def _zeros_end(self, at: int, in_transaction: bool) -> int:
        """Where zeros end; crashes, and repairs by old versions, leave some."""
        found = _NOT_ZERO.search(self._data, at)
        if found is None:
            return len(self._data)
        if in_transaction:
            raise _Unreadable(at, "a type of record, as the transaction goes on")
        return found.start() // _ALIGN * _ALIGN

    def _record(self, at: int, kind: int) -> int:
        """Where the record at `at` ends; its key is noted."""
        data, size = self._data, len(self._data)
        key_start = at + _START.size
        if key_start > size:
            raise _Unfinished
        found, length = _START.unpack_from(data, at)
        if found != kind or not length:
            raise _Unreadable(at, "a record with a key", data[at:key_start])
        key_end = key_start + length
        value = _value_at(at, length)
        if value > size:
            raise _Unfinished
        (length,) = _WORD.unpack_from(data, value - _WORD.size)
        value_end = value + length
        pointers = value + _padded(length)
        if pointers > size:
            raise _Unfinished
        if any(data[key_end : value - _WORD.size]) or any(data[value_end:pointers]):
            raise _Unreadable(at, "zeros behind a key and a value")
        end, _ = self._pointers_end(pointers)
        self._keys[at] = data[key_start:key_end]
        return end

    def _pointers_end(self, at: int) -> tuple[int, int]:
        """Where the pointers that start at `at` end with their padding, and how many they are."""
        limit = at + _WORD.size * _MAX_LEVEL + len(_PADDING)
        found = self._data.find(_PADDING, at, limit)
        end = min(limit, len(self._data)) if found < 0 else found
        is_padding = found > at and not (found - at) % _ALIGN
        is_rubbish = self._data[at + _ALIGN - 1 : end : _ALIGN].strip(_LAST_BYTES)
        if is_rubbish or (found >= 0 and not is_padding):
            raise _Unreadable(at, "pointers")
        if found < 0:
            if end == limit:
                raise _Unreadable(at, f"at most {_MAX_LEVEL} pointers")
            raise _Unfinished
        return end + len(_PADDING), (end - at) // _WORD.size

    def _deleted(self, at: int) -> int:
        """The offset of the record that the DELETE at `at` is about."""
        if at + _START.size > len(self._data):
            raise _Unfinished
        offset: int = _START.unpack_from(self._data, at)[1]
        if offset not in self._keys:
            raise _Unreadable(at, "the offset of a record", self._data[at : at + _START.size])
        return offset

    def _apply(self, transaction: list[tuple[int, int]]) -> None:
        for at, offset in transaction:
            if at == offset:
                self._set(offset)
            else:
                self._delete(at, offset)

    def _set(self, offset: int) -> None:
        key = self._keys[offset]
        if key in self.live:
            self.doubts[key] = (offset, "a deletion before the key is added again")
        self.live[key] = offset

    def _delete(self, at: int, offset: int) -> None:
        key = self._keys[offset]
        if self.live.get(key) != offset:
            self.doubts[key] = (at, "the deletion of a live record")
            return
        del self.live[key]
        self.doubts.pop(key, None)
