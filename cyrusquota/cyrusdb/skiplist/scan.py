"""Bulk reading of skiplist; cyrusdb/skiplist.py defines what is right.

The header says where the run ends and the log starts. The log is read in one piece, at a moment at
which nobody writes; the run behind which it stands never changes afterwards but for its pointers,
until a checkpoint cuts the file to nothing, which shows. All that has a rule is held to it, as in
the plain reader. Whatever is unusual (damage, a log that contradicts itself or does not end with a
whole record, keys that are not in byte order, a very large log) is left to it.
"""

from __future__ import annotations

import os
import struct
import time
from functools import partial
from typing import Optional

from cyrusquota.cyrusdb import sorted_run as run
from cyrusquota.cyrusdb.database import identity
from cyrusquota.cyrusdb.selection import Picks, Sifted, Unusual
from cyrusquota.cyrusdb.skiplist.reader import (
    _ADD,
    _COMMIT,
    _DELETE,
    _DUMMY,
    _HEADER,
    _INORDER,
    _LAST_BYTES,
    _MAX_LEVEL,
    _PADDING,
    _START,
    _VERSION,
    _WORD,
    MAGIC,
)
from cyrusquota.cyrusdb.sorted_run import PROBE, Changes, Deletion
from cyrusquota.errors import AnyPath

# The layout is that of the plain reader.
_MOST_POINTERS = _WORD.size * _MAX_LEVEL
#: What the dummy record, which has no key and no value, is before its pointers.
_DUMMY_START = struct.pack(">III", _DUMMY, 0, 0)
#: The end of one record of the run and the start of the next.
_BETWEEN = _PADDING + _WORD.pack(_INORDER)

#: Below this the plain reader is as quick.
_WORTH_IT = 1 << 16
#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 26
_TRIES, _PAUSE = 20, 0.005


def sift(path: AnyPath, picks: Picks) -> Optional[Sifted]:
    """What `picks` wants of the skiplist file at `path`, or None where the plain reader decides."""
    return run.sift(path, partial(_sifted, picks=picks))


def _sifted(descriptor: int, picks: Picks) -> Sifted:
    start, end, data = _log_of(descriptor)
    log = _Log(descriptor, start, end)
    log.read(data)
    bounds = run.boundaries(start, end, partial(_first_record, descriptor))
    found, superseded = run.sifted_run(descriptor, bounds, _records, picks, log.changes)
    # A key is deleted before it is added again.
    if set(superseded) != log.deleted_in_run:
        raise Unusual
    return found


def _log_of(descriptor: int) -> tuple[int, int, bytes]:
    """Where the run starts and ends, and what stands behind it, all from one moment."""
    for _ in range(_TRIES):
        then = os.fstat(descriptor)
        start, end = _run_in(descriptor, then.st_size)
        data = run.read(descriptor, end, then.st_size)
        if identity(os.fstat(descriptor)) == identity(then):
            return start, end, data
        time.sleep(_PAUSE)
    raise Unusual


def _run_in(descriptor: int, size: int) -> tuple[int, int]:
    raw = os.pread(descriptor, _HEADER.size + len(_DUMMY_START) + _MOST_POINTERS + 4, 0)
    if len(raw) < _HEADER.size:
        raise Unusual
    magic, version, _, max_level, level, _, log_start, _ = _HEADER.unpack_from(raw)
    is_known = magic == MAGIC and version == _VERSION and raw.startswith(_DUMMY_START, _HEADER.size)
    pointers = _HEADER.size + len(_DUMMY_START)
    start = _pointers_end(raw, pointers)
    if not is_known or level > max_level or start is None or start - 4 - pointers != 4 * max_level:
        raise Unusual
    if not start < log_start <= size or log_start % 4:
        raise Unusual
    if size < _WORTH_IT or size - log_start > _LARGEST_LOG:
        raise Unusual
    return start, log_start


class _Log:
    """What the committed transactions behind the run from `start` to `end` come to."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self.changes: Changes = {}
        self.deleted_in_run = set[bytes]()
        self._descriptor = descriptor
        self._run = range(start, end)
        #: The offset at which each live key of the log was added.
        self._added: dict[bytes, int] = {}

    def read(self, data: bytes) -> None:
        at, size = 0, len(data)
        keys: dict[int, bytes] = {}
        transaction: list[tuple[int, bytes, Optional[bytes]]] = []
        while at < size:
            if size - at < _WORD.size:
                raise Unusual
            kind = _word(data, at)
            if kind == _ADD:
                key, value, end = _record(data, at, _ADD)
                keys[self._run.stop + at] = key
                transaction.append((self._run.stop + at, key, value))
                at = end
            elif kind == _DELETE:
                if size - at < _START.size:
                    raise Unusual
                offset = _word(data, at + 4)
                key = keys[offset] if offset in keys else self._key_in_run(offset)
                transaction.append((offset, key, None))
                at += _START.size
            elif kind == _COMMIT:
                for offset, key, new in transaction:
                    self._apply(offset, key, new)
                transaction.clear()
                at += 4
            else:
                raise Unusual

    def _apply(self, offset: int, key: bytes, value: Optional[bytes]) -> None:
        if value is not None:
            if self.changes.get(key) is not None:
                raise Unusual
            self._added[key] = offset
        elif offset not in self._run:
            if self._added.pop(key, None) != offset:
                raise Unusual
        elif key in self.deleted_in_run or key in self._added:
            raise Unusual
        else:
            self.deleted_in_run.add(key)
        self.changes[key] = value

    def _key_in_run(self, offset: int) -> bytes:
        is_first = offset == self._run.start
        if offset % 4 or offset not in self._run:
            raise Unusual
        if not is_first and os.pread(self._descriptor, 4, offset - 4) != _PADDING:
            raise Unusual
        return run.key_at(self._descriptor, offset, _records)


def _word(data: bytes, at: int) -> int:
    found: int = _WORD.unpack_from(data, at)[0]
    return found


def _record(data: bytes, at: int, kind: int) -> tuple[bytes, bytes, int]:
    """The key and the value of the record at `at`, and where it ends."""
    keys, values = list[bytes](), list[bytes]()
    end = at + _whole(data, at, kind, keys, values, 1)
    if not keys:
        raise Unusual
    return keys[0], values[0], end


def _records(
    data: bytes, keys: list[bytes], values: list[bytes], deletions: list[Deletion], most: int
) -> int:
    """Add what is in `data`, as `run.Records` has it; no deletions are in a run."""
    return _whole(data, 0, _INORDER, keys, values, most)


def _whole(
    data: bytes, start: int, kind: int, keys: list[bytes], values: list[bytes], most: int
) -> int:
    """Add the whole records of one kind from `start` on; how many bytes they have."""
    at, size = start, len(data)
    unpack_start, unpack_word, find = _START.unpack_from, _WORD.unpack_from, data.find
    while at + 12 <= size:
        found, length = unpack_start(data, at)
        if found != kind or not length:
            raise Unusual
        key = at + 8
        key_end = key + length
        value = key_end + (-length & 3) + 4
        if value > size:
            break
        (length,) = unpack_word(data, value - 4)
        value_end = value + length
        pointers = value_end + (-length & 3)
        limit = pointers + _MOST_POINTERS + 4
        end = find(_PADDING, pointers, limit)
        if end < 0:
            if limit <= size:
                raise Unusual
            break
        if (
            end == pointers
            or (end - pointers) & 3
            or (data[pointers + 3 : end : 4].strip(_LAST_BYTES))
        ):
            raise Unusual
        if data[key_end : value - 4].strip(b"\0") or data[value_end:pointers].strip(b"\0"):
            raise Unusual
        keys.append(data[key:key_end])
        values.append(data[value:value_end])
        at = end + 4
        if most:
            break
    return at - start


def _pointers_end(data: bytes, at: int) -> Optional[int]:
    """Where the pointers of the dummy end with their padding; None where they do not."""
    end = data.find(_PADDING, at)
    return None if end < 0 or data[at + 3 : end : 4].strip(_LAST_BYTES) else end + 4


def _first_record(descriptor: int, start: int) -> int:
    """The first offset from `start` on where a record of the run may start."""
    start &= ~3
    data = os.pread(descriptor, PROBE, start)
    at = data.find(_BETWEEN)
    while at >= 0 and at % 4:
        at = data.find(_BETWEEN, at + 1)
    if at < 0:
        raise Unusual
    return start + at + 4
