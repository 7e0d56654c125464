"""The fast path of twoskip; the plain reader defines what is right.

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

from cyrusquota.cyrusdb import sorted_run
from cyrusquota.cyrusdb.database import mailbox_order
from cyrusquota.cyrusdb.selection import FastPathUnsupported, Predicate, Selected
from cyrusquota.cyrusdb.sorted_run import PROBE, Changes, Deletion
from cyrusquota.cyrusdb.twoskip import layout, records
from cyrusquota.errors import AnyPath

# One structure for the whole head of each level: type, key length, value length, pointers, both
# checksums.
_RUN_START = layout.DUMMY_AT + layout.DUMMY_SIZE
_LEVELS = layout.MAX_LEVEL + 1
#: Where the checksums of a head are, by its level.
_CRCS_AT = tuple(layout.START.size + layout.LONG.size * (level + 1) for level in range(_LEVELS))
_HEADS = tuple(struct.Struct(f">BxHI{at - layout.START.size}xII").unpack_from for at in _CRCS_AT)
_LARGEST_HEAD = _CRCS_AT[-1] + layout.CRCS.size

_WINDOW = 1 << 13
#: More than these, and looking for each takes longer than reading everything.
_MOST_DELETIONS = 10_000
#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 27


def select(path: AnyPath, predicate: Predicate) -> Optional[Selected]:
    """Return what `predicate` wants of a file, or None where the plain reader decides."""
    return sorted_run.select(path, partial(_selected, predicate=predicate))


def _selected(descriptor: int, predicate: Predicate) -> Selected:
    run_end, end, known = _header(descriptor)
    log = _log(descriptor, run_end, end)
    bounds = sorted_run.boundaries(_RUN_START, run_end, partial(_first_record, descriptor))
    found, _ = sorted_run.selected_run(descriptor, bounds, _records, predicate, log)
    if known not in (None, found.records):
        raise FastPathUnsupported
    return found


def _header(descriptor: int) -> tuple[int, int, Optional[int]]:
    """Return where the run and the log end, and the number of live records where known."""
    raw = os.pread(descriptor, layout.HEADER.size, 0)
    header = records.checked_header(raw) if records.is_header(raw) else None
    if header is None or header.version != layout.VERSION:
        raise FastPathUnsupported
    run_end, end = header.repack_size, header.current_size
    if not _RUN_START < run_end <= end or (run_end | end) % layout.ALIGN:
        raise FastPathUnsupported
    sorted_run.check_sizes(run_end, end, os.fstat(descriptor).st_size, _LARGEST_LOG)
    dummy = sorted_run.read(descriptor, layout.DUMMY_AT, _RUN_START)
    kind, key, value, head_crc, _ = _HEADS[layout.MAX_LEVEL](dummy)
    # Where it is being rewritten the plain reader waits for it.
    crc = crc32(dummy[: -layout.CRCS.size])
    if (kind, key, value, crc) != (layout.DUMMY, 0, 0, head_crc):
        raise FastPathUnsupported
    return run_end, end, None if header.flags & layout.DIRTY else header.num_records


def _log(descriptor: int, start: int, end: int) -> Changes:
    """Return what was stored and deleted since the run was written."""
    log = _Log(descriptor, start)
    sorted_run.walk(descriptor, start, end, _records, log.take)
    return log.changes


class _Log:
    """The log as far as it has been read, behind a run that ends at `run_end`."""

    def __init__(self, descriptor: int, run_end: int) -> None:
        self.changes: Changes = {}
        self._descriptor = descriptor
        self._run_end = run_end
        #: The live keys of the log in byte order and in mailbox order, once they matter.
        self._orders: Optional[tuple[records.LiveKeys, records.LiveKeys]] = None
        self._deletions = 0

    def take(self, keys: list[bytes], values: list[bytes], deletions: list[Deletion]) -> None:
        self._deletions += len(deletions)
        if self._deletions > _MOST_DELETIONS:
            raise FastPathUnsupported
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
        """Return the live key before the one of the record at `following`, or the last one of all.

        It has to be the same in mailbox order, which the database may be in.
        """
        if self._orders is None:
            live = [key for key, value in self.changes.items() if value is not None]
            self._orders = (
                records.LiveKeys(live, in_mailbox_order=False),
                records.LiveKeys(live, in_mailbox_order=True),
            )
        below = sorted_run.key_at(self._descriptor, following, _records) if following else None
        in_run = self._in_run(below)
        in_log = [order.take_before(below) for order in self._orders]
        plain = max((key for key in (in_run, in_log[0]) if key is not None), default=None)
        both = (key for key in (in_run, in_log[1]) if key is not None)
        mailbox = max(both, default=None, key=mailbox_order)
        if plain is None or plain != mailbox:
            raise FastPathUnsupported
        if plain == in_run:
            for order, key in zip(self._orders, in_log):
                if key is not None:
                    order.add(key)
        return plain

    def _in_run(self, below: Optional[bytes]) -> Optional[bytes]:
        """Return the greatest key of the run less than `below` that no change is known of."""
        before, behind = _neighbours(self._descriptor, self._run_end, below)
        if below is not None:
            place = mailbox_order(below)
            if before is not None and mailbox_order(before) >= place:
                raise FastPathUnsupported
            if behind is not None and mailbox_order(behind) < place:
                raise FastPathUnsupported
        while before in self.changes:
            before, _ = _neighbours(self._descriptor, self._run_end, before)
        return before


def _neighbours(
    descriptor: int, run_end: int, key: Optional[bytes]
) -> tuple[Optional[bytes], Optional[bytes]]:
    """Return the greatest key of the run below `key`, and the next one; None where none is.

    Without a key, the greatest of all.
    """
    # All records that start from `high` on have keys that are not less.
    low, high = _RUN_START, run_end
    while high - low > _WINDOW:
        middle = (low + high) // 2 & -layout.ALIGN
        at = _first_record(descriptor, middle, run_end)
        if at >= high:
            break
        if key is None or sorted_run.key_at(descriptor, at, _records) < key:
            low = at
        else:
            high = middle
    keys = list[bytes]()
    _records(sorted_run.read(descriptor, low, min(run_end, high + PROBE)), keys, [], [], 0)
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

    Raises `FastPathUnsupported` where something else stands.
    """
    at, end = 0, len(data)
    data += bytes(_LARGEST_HEAD)
    heads, crcs_at, crc, below = _HEADS, _CRCS_AT, crc32, layout.ALIGN - 1
    a_record, long_key, crcs_size = layout.RECORD, layout.LONG_KEY, layout.CRCS.size
    add_key, add_value = keys.append, values.append
    while at < end:
        level = data[at + 1]
        if level >= _LEVELS:
            if not data.startswith(layout.BLANK, at):
                raise FastPathUnsupported
            at += len(layout.BLANK)
            continue
        kind, key_length, value_length, head_crc, tail_crc = heads[level](data, at)
        crcs = at + crcs_at[level]
        key = crcs + crcs_size
        value = key + key_length
        stop = value + value_length
        behind = stop + (-stop & below)
        if behind > end or crc(data[at:crcs]) != head_crc:
            break
        if kind != a_record:
            if key != behind or kind not in (layout.COMMIT, layout.DELETE) or most:
                raise FastPathUnsupported
            if kind == layout.DELETE:
                (following,) = layout.LONG.unpack_from(data, at + layout.START.size)
                deletions.append((len(keys), following))
            at = behind
            continue
        if key_length == long_key or crc(data[key:behind]) != tail_crc:
            raise FastPathUnsupported
        add_key(data[key:value])
        add_value(data[value:stop])
        at = behind
        if most:
            break
    return at


def _first_record(descriptor: int, start: int, end: int = sys.maxsize) -> int:
    """Return the first offset from `start` on where a record with a right head starts."""
    start &= -layout.ALIGN
    data = os.pread(descriptor, min(PROBE, end - start), start) + bytes(_LARGEST_HEAD)
    for at in range(0, len(data) - _LARGEST_HEAD, layout.ALIGN):
        if data[at] == layout.RECORD and data[at + 1] < _LEVELS:
            crcs = at + _CRCS_AT[data[at + 1]]
            if layout.CRCS.unpack_from(data, crcs)[0] == crc32(data[at:crcs]):
                return start + at
    raise FastPathUnsupported
