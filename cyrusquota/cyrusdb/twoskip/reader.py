"""twoskip, the format of most databases since Cyrus 2.5 (lib/cyrusdb_twoskip.c).

Read as a log, not along its pointers: a writer appends records and moves the header's
current_size past them when the transaction is committed, so everything before current_size is
complete and never changes, but for the pointers at the head of old records and the checksum over
them. Hence the result is one committed state however busy the writer is, without a lock.

Only where a checksum fails are the pointers followed (`_chain`), because they tell which of the
records are live: damage in a superseded record matters to nobody, damage in a live one is
reported, and where the pointers lead nowhere the rest is left out. Nothing is handed out that a
checksum does not vouch for.
"""

from __future__ import annotations

import bisect
import os
import struct
import time
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, NoReturn, Optional
from zlib import crc32

import attrs

from cyrusquota.cyrusdb import _magic
from cyrusquota.cyrusdb.database import Database, Snapshot, differs, exactly, identity
from cyrusquota.errors import AnyPath, DamagedDatabase, OnProblem, Place, source_error

MAGIC = _magic.TWOSKIP

_VERSION = 1
#: magic, version, generation, num_records, repack_size, current_size, flags, CRC of all that
_HEADER = struct.Struct(">20sIQQQQII")
#: type, level, key length, value length; then any long lengths, the pointers and two CRCs
_START = struct.Struct(">BBHI")
_LONG = struct.Struct(">Q")
_CRCS = struct.Struct(">II")
_DUMMY, _RECORD, _DELETE, _COMMIT = b"=+-$"
#: What stands behind the dummy record, and whose heads are rewritten in place.
_LOGGED, _REWRITTEN = frozenset((_RECORD, _DELETE, _COMMIT)), frozenset((_DUMMY, _RECORD))
_BLANK = b" BLANK\x07\xa0"
_MAX_LEVEL = 31
_DIRTY = 1
_LONG_KEY, _LONG_VALUE = 0xFFFF, 0xFFFFFFFF
_ALIGN = 8

#: A header or record head caught while it is being rewritten is right again in an instant.
_TRIES, _PAUSE = 40, 0.005
_REPAIR = "stop Cyrus and let `ctl_cyrusdb -r` repair it, or restore it from db.backup1"
#: The first bytes of mailbox order, as with improved_mboxlist_sort in 2.4 to 3.4 (lib/bsearch.c).
_MAILBOX_ORDER = bytes({9: 1, 10: 1, 13: 1, 46: 2}.get(byte, byte) for byte in range(256))


@attrs.frozen
class _Header:
    """What counts of the header; `num_records` is None while a writer is at work."""

    generation: int
    num_records: Optional[int]
    current_size: int


@attrs.frozen
class _Head:
    """The head of a record: what it is, and where its key and value lie."""

    kind: int
    level: int
    pointers: int
    key: int
    value: int
    tail: int
    end: int
    head_crc: int
    tail_crc: int


class _Unreadable(Exception):
    """A record that cannot be told apart from rubbish."""

    def __init__(self, offset: int, expected: str) -> None:
        self.offset = offset
        self.expected = expected


class Twoskip(Database):
    """A twoskip file as it was at one commit."""

    backend = "twoskip"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        try:
            with Path(path).open("rb", buffering=0) as file:
                self._identity = identity(os.fstat(file.fileno()))
                header = self._read_header(file)
                self._header = header
                file.seek(0)
                self._data = exactly(file, header.current_size)
                if len(self._data) < header.current_size:
                    self._fail(len(self._data), f"{header.current_size} committed bytes")
                self._live = self._live_records(file)
        except OSError as error:
            raise source_error(error, path) from error

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        data = self._data
        for at in self._live:
            head = _head(data, at)
            yield data[head.key : head.value], data[head.value : head.tail]

    def snapshot(self) -> Snapshot:
        header = self._header
        records, inode = len(self._live), self._identity[:2]
        return Snapshot(self.backend, header.current_size, records, header.generation, inode)

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _read_header(self, file: BinaryIO) -> _Header:
        if self._identity[2] == 0:
            return _Header(0, 0, 0)
        for attempt in range(_TRIES):
            time.sleep(_PAUSE if attempt else 0)
            file.seek(0)
            raw = exactly(file, _HEADER.size)
            if len(raw) < _HEADER.size or not raw.startswith(MAGIC):
                self._fail(0, "a twoskip header", raw)
            _, version, generation, records, _, size, flags, crc = _HEADER.unpack(raw)
            if crc32(raw[:-4]) == crc:
                break
        else:
            self._fail(_HEADER.size - 4, "the checksum of the header", raw[-4:])
        if version != _VERSION:
            self._fail(20, f"version {_VERSION}", raw[20:24])
        present = os.fstat(file.fileno()).st_size
        if size < _HEADER.size or size % _ALIGN or size > present:
            self._fail(48, f"a committed size within the file's {present} bytes", raw[48:56])
        # A writer counts a replaced record off before it marks the header dirty.
        return _Header(generation, None if flags & _DIRTY else records, size)

    def _live_records(self, file: BinaryIO) -> list[int]:
        """Where the live version of each key starts."""
        if not self._data:
            return []
        logged: Optional[list[int]] = None
        try:
            logged = self._log(_settled(file.fileno()))
            if self._header.num_records in (None, len(logged)):
                return logged
            problem = _Unreadable(32, f"{self._header.num_records} live records, as the header has")
        except _Unreadable as unreadable:
            problem = unreadable
        return self._chain(problem, logged)

    def _log(self, settle: _Settle) -> list[int]:
        """The live records by reading the log, in the one order of keys that fits the pointers.

        Which key a deletion means depends on the order, and what would tell the two orders apart
        may be gone with the deleted keys. Then the pointers have to confirm one of the results.
        """
        log = _Log(self._data, settle)
        live = log.live()
        if not log.order_is_guessed:
            return live
        other = _Log(self._data, settle, in_mailbox_order=True).live()
        if set(live) == set(other):
            return live
        doubt = _Unreadable(_HEADER.size, "keys in byte order or in mailbox order")
        reached = set(self._chain(doubt, None))
        for candidate in (live, other):
            if set(candidate) == reached:
                return candidate
        self._fail(doubt.offset, doubt.expected)
        return []

    def _chain(self, problem: _Unreadable, logged: Optional[list[int]]) -> list[int]:
        """The live records by following the pointers, every step of it vouched for by checksums.

        Raises for what the pointers cannot settle either: `problem`, unless the header alone is
        wrong about the number of records.
        """
        data, live, bad = self._data, list[int](), 0
        keys, seen = set[bytes](), set[int]()
        at = _HEADER.size
        while at:
            try:
                head = _checked_head(data, at, None)
            except _Unreadable as broken:
                if not live:
                    self._fail(problem.offset, problem.expected)
                self._report(broken.offset, f"{broken.expected}; all keys behind it are lost", live)
                return live
            key = data[head.key : head.value]
            if at in seen or (head.kind == _RECORD and key in keys):
                self._fail(at, "a chain of records that has each key once", key)
            seen.add(at)
            if head.kind == _RECORD:
                keys.add(key)
                if _tail_is_right(data, head):
                    live.append(at)
                else:
                    bad += 1
                    self._report(at, "the checksum of the live record", [at])
            elif head.kind != _DELETE and at != _HEADER.size:
                self._fail(at, "a live record")
            at = _next(data, head, len(data))
        is_whole = self._header.num_records in (None, len(live) + bad)
        if not is_whole and sorted(live) != sorted(logged or ()):
            self._fail(problem.offset, problem.expected)
        return live

    def _report(self, offset: int, expected: str, near: list[int]) -> None:
        head = _head(self._data, near[-1])
        key = self._data[head.key : head.value]
        place = Place(str(self.path), offset=offset, key=key)
        self._on_problem(DamagedDatabase(expected, place=place, advice=_REPAIR))

    def _fail(self, offset: int, expected: str, found: Optional[bytes] = None) -> NoReturn:
        place = Place(str(self.path), offset=offset)
        raise DamagedDatabase(expected, place=place, found=found, advice=_REPAIR)


_Settle = Callable[[int, int], Optional[bytes]]


def _settled(descriptor: int) -> _Settle:
    """Return a function that reads a record head again until the writer has done with it."""

    def settle(at: int, length: int) -> Optional[bytes]:
        for attempt in range(_TRIES):
            time.sleep(_PAUSE if attempt else 0)
            raw = os.pread(descriptor, length + _CRCS.size, at)
            if len(raw) == length + _CRCS.size and crc32(raw[:length]) == _CRCS.unpack(raw[-8:])[0]:
                return raw
        return None

    return settle


def _head(data: bytes, at: int) -> _Head:
    """The head of the record at `at`; raises `_Unreadable` where it cannot be one."""
    if at + _START.size > len(data):
        raise _Unreadable(at, "a record within the committed size")
    kind, level, key_length, value_length = _START.unpack_from(data, at)
    pointers = at + _START.size
    if level > _MAX_LEVEL or pointers + 2 * _LONG.size > len(data):
        raise _Unreadable(at, "a record")
    if key_length == _LONG_KEY:
        (key_length,) = _LONG.unpack_from(data, pointers)
        pointers += _LONG.size
    if value_length == _LONG_VALUE:
        (value_length,) = _LONG.unpack_from(data, pointers)
        pointers += _LONG.size
    crcs = pointers + _LONG.size * (level + 1)
    key = crcs + _CRCS.size
    tail = key + key_length + value_length
    end = tail + -(key_length + value_length) % _ALIGN
    if end > len(data):
        raise _Unreadable(at, "a record within the committed size")
    head_crc, tail_crc = _CRCS.unpack_from(data, crcs)
    return _Head(kind, level, pointers, key, key + key_length, tail, end, head_crc, tail_crc)


def _records(
    data: bytes, start: int, settle: _Settle, base: int = 0
) -> Iterator[tuple[int, _Head]]:
    """Yield offset and head of each record of `data`, which stands at `base` in the file.

    Each is one that its checksums vouch for; raises `_Unreadable` for any other.
    """
    at, end = start, len(data)
    while at < end:
        if data.startswith(_BLANK, at):
            at += len(_BLANK)
            continue
        head = _checked_head(data, at, settle, base)
        if head.kind == _RECORD and not _tail_is_right(data, head):
            raise _Unreadable(at, "the checksum of a record")
        if head.kind not in _LOGGED and (head.kind != _DUMMY or base + at != _HEADER.size):
            raise _Unreadable(at, "a type of record")
        yield at, head
        at = head.end


def _checked_head(data: bytes, at: int, settle: Optional[_Settle], base: int = 0) -> _Head:
    """Return the head of the record at `at`, vouched for by its checksum."""
    head = _head(data, at)
    length = head.key - _CRCS.size - at
    if crc32(data[at : at + length]) == head.head_crc:
        return head
    # Nothing of a DELETE or COMMIT is ever rewritten.
    again = settle(base + at, length) if settle and head.kind in _REWRITTEN else None
    # Only the pointers may have been rewritten: the lengths and the tail's checksum stay.
    same = again is not None and again[: head.pointers - at] == data[at : head.pointers]
    if not same or again is None or again[-4:] != data[head.key - 4 : head.key]:
        raise _Unreadable(at, "the checksum of a record's head")
    return head


def _tail_is_right(data: bytes, head: _Head) -> bool:
    return crc32(data[head.key : head.end]) == head.tail_crc


def _pointer(data: bytes, head: _Head, index: int) -> int:
    found: int = _LONG.unpack_from(data, head.pointers + index * _LONG.size)[0]
    return found


def _next(data: bytes, head: _Head, end: int) -> int:
    """The next record of the lowest level, as a reader whose world ends at `end` sees it; 0: none.

    Two alternatives are kept for it, of which the older stays right until the commit of the newer.
    """
    first = _pointer(data, head, 0)
    if head.kind == _DELETE:
        return first
    second = _pointer(data, head, 1)
    if first >= end:
        return second
    return first if second >= end else max(first, second)


class _Log:
    """The records of a file in the order they were written."""

    def __init__(
        self, data: bytes, settle: _Settle, in_mailbox_order: Optional[bool] = None
    ) -> None:
        self._data = data
        self._settle = settle
        self._in_mailbox_order = in_mailbox_order
        self._offsets: dict[bytes, int] = {}
        self._order: Optional[_Order] = None
        self.order_is_guessed = False

    def live(self) -> list[int]:
        """Where the last version of each key that was not deleted starts."""
        data = self._data
        for at, head in _records(data, _HEADER.size, self._settle):
            if head.kind == _RECORD:
                self._set(data[head.key : head.value], at)
            elif head.kind == _DELETE:
                self._delete(_pointer(data, head, 0))
        return list(self._offsets.values())

    def _set(self, key: bytes, at: int) -> None:
        if self._order is not None and key not in self._offsets:
            self._order.add(key)
        self._offsets[key] = at

    def _delete(self, following: int) -> None:
        """A delete record does not say what it deletes, only what comes behind it."""
        if self._order is None:
            known = self._in_mailbox_order
            if known is None:
                known = _order_of(self._data)
            self.order_is_guessed = known is None
            self._order = _Order(self._offsets, bool(known))
        key = None
        if following:
            head = _head(self._data, following)
            if following >= len(self._data) or head.kind != _RECORD:
                raise _Unreadable(following, "the record behind a deleted one")
            key = self._data[head.key : head.value]
        gone = self._order.take_before(key)
        if gone is None:
            raise _Unreadable(following, "a key before the one that a deletion points to")
        del self._offsets[gone]


class _Order:
    """The live keys in the order of the database."""

    def __init__(self, keys: dict[bytes, int], in_mailbox_order: bool) -> None:
        self._in_mailbox_order = in_mailbox_order
        self._keys = sorted(map(self._sortable, keys))

    def _sortable(self, key: bytes) -> tuple[bytes, bytes]:
        return (key.translate(_MAILBOX_ORDER) if self._in_mailbox_order else b"", key)

    def add(self, key: bytes) -> None:
        bisect.insort(self._keys, self._sortable(key))

    def take_before(self, key: Optional[bytes]) -> Optional[bytes]:
        """Remove and give back the greatest key below `key` (of all, if None)."""
        at = len(self._keys)
        if key is not None:
            at = bisect.bisect_left(self._keys, self._sortable(key))
        return self._keys.pop(at - 1)[1] if at else None


def _order_of(data: bytes) -> Optional[bool]:
    """Whether the database is in mailbox order; None where nothing tells.

    Pointers only ever lead to greater keys, so any two records that follow one another and that
    the two orders disagree about decide it.
    """
    at = _HEADER.size
    while at < len(data):
        if data.startswith(_BLANK, at):
            at += len(_BLANK)
            continue
        head = _head(data, at)
        for index in range(head.level + 1 if head.kind == _RECORD else 0):
            target = _pointer(data, head, index)
            if _HEADER.size < target < len(data):
                behind = _head(data, target)
                if behind.kind == _RECORD:
                    key, greater = data[head.key : head.value], data[behind.key : behind.value]
                    if key > greater:
                        return True
                    if key.translate(_MAILBOX_ORDER) > greater.translate(_MAILBOX_ORDER):
                        return False
        at = head.end
    return None
