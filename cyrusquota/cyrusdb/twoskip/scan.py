"""Bulk reading of twoskip; cyrusdb/twoskip.py defines what is right.

header.repack_size says where the run ends and the log starts. Every checksum is checked, every
record is met, and the records are counted, as in the plain reader. A deletion in the log is about
the live key before the one that it points to; the run is searched for that by bisection. Whatever
is unusual (damage, keys that are not in byte order, a deletion that means another key in mailbox
order, a very large log) is left to the plain reader.
"""

from __future__ import annotations

import bisect
import os
import struct
import sys
from functools import partial
from typing import Optional
from zlib import crc32

from cyrusquota.cyrusdb import sorted_run as run
from cyrusquota.cyrusdb.selection import Picks, Sifted, Unusual
from cyrusquota.cyrusdb.sorted_run import PROBE, Changes, Deletion
from cyrusquota.cyrusdb.twoskip.reader import (
    _BLANK,
    _COMMIT,
    _DELETE,
    _DIRTY,
    _DUMMY,
    _HEADER,
    _LONG_KEY,
    _MAILBOX_ORDER,
    _MAX_LEVEL,
    _RECORD,
    _VERSION,
    MAGIC,
    _Order,
)
from cyrusquota.errors import AnyPath

# The layout is that of the plain reader, with one structure for the whole head of each level: type,
# key length, value length, pointers, both checksums.
_START, _END = 64, 64 + 272
_LEVELS = _MAX_LEVEL + 1
_HEADS = tuple(struct.Struct(f">BxHI{8 * (level + 1)}xII").unpack_from for level in range(_LEVELS))
_CRCS_AT = tuple(8 + 8 * (level + 1) for level in range(_LEVELS))
_LARGEST_HEAD = 8 + 8 * _LEVELS + 8

#: Below this the plain reader is as quick.
_WORTH_IT = 1 << 16
_WINDOW = 1 << 13
#: More than these, and looking for each takes longer than reading everything.
_MOST_DELETIONS = 10_000
#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 27


def sift(path: AnyPath, picks: Picks) -> Optional[Sifted]:
    """What `picks` wants of the twoskip file at `path`, or None where the plain reader decides."""
    return run.sift(path, partial(_sifted, picks=picks))


def _sifted(descriptor: int, picks: Picks) -> Sifted:
    run_end, end, records = _header(descriptor)
    log = _log(descriptor, run_end, end)
    bounds = run.boundaries(_END, run_end, partial(_first_record, descriptor))
    found, _ = run.sifted_run(descriptor, bounds, _records, picks, log)
    if records not in (None, found.records):
        raise Unusual
    return found


def _header(descriptor: int) -> tuple[int, int, Optional[int]]:
    """Where the run and the log end, and how many live records there are where that is known."""
    raw = os.pread(descriptor, _HEADER.size, 0)
    if len(raw) < _HEADER.size:
        raise Unusual
    magic, version, _, records, run_end, end, flags, crc = _HEADER.unpack(raw)
    is_sound = magic == MAGIC and version == _VERSION and crc32(raw[:-4]) == crc
    if not is_sound or not _END < run_end <= end or (run_end | end) % 8:
        raise Unusual
    if end < _WORTH_IT or end > os.fstat(descriptor).st_size or end - run_end > _LARGEST_LOG:
        raise Unusual
    dummy = run.read(descriptor, _START, _END)
    kind, key, value, head_crc, _ = _HEADS[_LEVELS - 1](dummy)
    # Where it is being rewritten the plain reader waits for it.
    if (kind, key, value, crc32(dummy[:-8])) != (_DUMMY, 0, 0, head_crc):
        raise Unusual
    return run_end, end, None if flags & _DIRTY else records


def _log(descriptor: int, start: int, end: int) -> Changes:
    """What was stored and deleted since the run was written."""
    log = _Log(descriptor, start)
    run.walk(descriptor, start, end, _records, log.take)
    return log.changes


class _Log:
    """The log as far as it has been read, behind a run that ends at `run_end`."""

    def __init__(self, descriptor: int, run_end: int) -> None:
        self.changes: Changes = {}
        self._descriptor = descriptor
        self._run_end = run_end
        #: The live keys of the log in byte order and in mailbox order, once they matter.
        self._orders: Optional[tuple[_Order, _Order]] = None
        self._deletions = 0

    def take(self, keys: list[bytes], values: list[bytes], deletions: list[Deletion]) -> None:
        self._deletions += len(deletions)
        if self._deletions > _MOST_DELETIONS:
            raise Unusual
        done = 0
        for index, following in deletions:
            self._store(keys[done:index], values[done:index])
            self.changes[self._before(following)] = None
            done = index
        self._store(keys[done:], values[done:])

    def _store(self, keys: list[bytes], values: list[bytes]) -> None:
        if self._orders is None:
            self.changes.update(zip(keys, values))
            return
        for key, value in zip(keys, values):
            if self.changes.get(key) is None:
                for order in self._orders:
                    order.add(key)
            self.changes[key] = value

    def _before(self, following: int) -> bytes:
        """The live key before the one of the record at `following`, or the last one of all.

        It has to be the same in mailbox order, which the database may be in.
        """
        if self._orders is None:
            live = {key: 0 for key, value in self.changes.items() if value is not None}
            self._orders = _Order(live, False), _Order(live, True)
        below = run.key_at(self._descriptor, following, _records) if following else None
        in_run = self._in_run(below)
        in_log = [order.take_before(below) for order in self._orders]
        plain = max((key for key in (in_run, in_log[0]) if key is not None), default=None)
        both = (key for key in (in_run, in_log[1]) if key is not None)
        mailbox = max(both, default=None, key=_in_mailbox_order)
        if plain is None or plain != mailbox:
            raise Unusual
        if plain == in_run:
            for order, key in zip(self._orders, in_log):
                if key is not None:
                    order.add(key)
        return plain

    def _in_run(self, below: Optional[bytes]) -> Optional[bytes]:
        """The greatest key of the run less than `below` that no change is known of."""
        before, behind = _neighbours(self._descriptor, self._run_end, below)
        if below is not None:
            place = _in_mailbox_order(below)
            if before is not None and _in_mailbox_order(before) >= place:
                raise Unusual
            if behind is not None and _in_mailbox_order(behind) < place:
                raise Unusual
        while before in self.changes:
            before, _ = _neighbours(self._descriptor, self._run_end, before)
        return before


def _in_mailbox_order(key: bytes) -> tuple[bytes, bytes]:
    return key.translate(_MAILBOX_ORDER), key


def _neighbours(
    descriptor: int, run_end: int, key: Optional[bytes]
) -> tuple[Optional[bytes], Optional[bytes]]:
    """The greatest key of the run that is less than `key`, and the next one; None where none is.

    Without a key, the greatest of all.
    """
    # All records that start from `high` on have keys that are not less.
    low, high = _END, run_end
    while high - low > _WINDOW:
        middle = (low + high) // 2 & ~7
        at = _first_record(descriptor, middle, run_end)
        if at >= high:
            break
        if key is None or run.key_at(descriptor, at, _records) < key:
            low = at
        else:
            high = middle
    keys = list[bytes]()
    _records(run.read(descriptor, low, min(run_end, high + PROBE)), keys, [], [], 0)
    less = bisect.bisect_left(keys, key) if key is not None else len(keys)
    return keys[less - 1] if less else None, keys[less] if less < len(keys) else None


def _records(
    data: bytes,
    keys: list[bytes],
    values: list[bytes],
    deletions: list[Deletion],
    most: int,
) -> int:
    """Add what is in `data`; where the first record starts that is not whole or right.

    Raises `Unusual` where something else stands.
    """
    at, end = 0, len(data)
    data += bytes(_LARGEST_HEAD)
    heads, crcs_at, crc = _HEADS, _CRCS_AT, crc32
    add_key, add_value = keys.append, values.append
    while at < end:
        level = data[at + 1]
        if level >= _LEVELS:
            if not data.startswith(_BLANK, at):
                raise Unusual
            at += 8
            continue
        kind, key_length, value_length, head_crc, tail_crc = heads[level](data, at)
        crcs = at + crcs_at[level]
        key = crcs + 8
        value = key + key_length
        stop = value + value_length
        behind = stop + (-stop & 7)
        if behind > end or crc(data[at:crcs]) != head_crc:
            break
        if kind != _RECORD:
            if key != behind or kind not in (_COMMIT, _DELETE) or most:
                raise Unusual
            if kind == _DELETE:
                following = int.from_bytes(data[at + 8 : at + 16], "big")
                deletions.append((len(keys), following))
            at = behind
            continue
        if key_length == _LONG_KEY or crc(data[key:behind]) != tail_crc:
            raise Unusual
        add_key(data[key:value])
        add_value(data[value:stop])
        at = behind
        if most:
            break
    return at


def _first_record(descriptor: int, start: int, end: int = sys.maxsize) -> int:
    """The first offset from `start` on where a record starts, as a right head checksum says."""
    start &= ~7
    data = os.pread(descriptor, min(PROBE, end - start), start) + bytes(_LARGEST_HEAD)
    for at in range(0, len(data) - _LARGEST_HEAD, 8):
        if data[at] == _RECORD and data[at + 1] < _LEVELS:
            crcs = at + _CRCS_AT[data[at + 1]]
            if int.from_bytes(data[crcs : crcs + 4], "big") == crc32(data[at:crcs]):
                return start + at
    raise Unusual
