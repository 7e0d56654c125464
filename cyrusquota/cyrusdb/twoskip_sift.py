"""The fast path of twoskip.py, for databases of many records in which few are wanted.

A repack leaves one run of records in the order of their keys; header.repack_size says where it
ends. Behind it stands the log of what changed since. So what has to be known of every record at
once is only that log: a record of the run is live unless the log has its key. The run itself is
cut into as many pieces as there are processors and read a little at a time.

Every checksum is checked, every record is met, and the records are counted, as in the plain
reader. A deletion in the log is about the live key before the one that it points to; the run is
searched for that by bisection. Whatever is unusual (damage, keys that are not in byte order, a
deletion that means another key in mailbox order, a very large log) gives None: twoskip.py decides
then.
"""

from __future__ import annotations

import bisect
import os
import struct
import time
from functools import partial
from itertools import chain
from operator import lt
from typing import Callable, Optional
from zlib import crc32

from cyrusquota.cyrusdb import _magic
from cyrusquota.cyrusdb._sift import BATCH, SHARES, Picks, Record, Sifted, parallel, processors
from cyrusquota.cyrusdb.twoskip import _MAILBOX_ORDER, _Order
from cyrusquota.errors import AnyPath

# The layout, as in twoskip.py, with one structure for the whole head of each level: type, key
# length, value length, pointers, both checksums.
_HEADER = struct.Struct(">20sIQQQQII")
_VERSION, _DIRTY = 1, 1
_START, _END = 64, 64 + 272
_LEVELS = 32
_HEADS = tuple(struct.Struct(f">BxHI{8 * (level + 1)}xII").unpack_from for level in range(_LEVELS))
_CRCS_AT = tuple(8 + 8 * (level + 1) for level in range(_LEVELS))
_DUMMY, _RECORD, _DELETE, _COMMIT = b"=+-$"
_BLANK = b" BLANK\x07\xa0"
_LONG_KEY, _LONG_VALUE = 0xFFFF, 0xFFFFFFFF
_LARGEST_HEAD = 8 + 8 * _LEVELS + 8

#: Below this the plain reader is as quick.
_WORTH_IT = 1 << 16
_PIECE = 1 << 17
#: Where a record is looked for; one that is not found in so much is as good as none.
_PROBE = 1 << 16
_WINDOW = 1 << 13
#: More than these, and looking for each takes longer than reading everything.
_MOST_DELETIONS = 10_000
#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 27
_LARGEST_RECORD = 1 << 24
_TRIES, _PAUSE = 20, 0.005


class _Unusual(Exception):
    """Something that the plain reader has to look at."""


#: What the log stores, by key; None where it deletes.
_Changes = dict[bytes, Optional[bytes]]
#: How many records come before a deletion, and the offset it has: of the record behind the key.
_Deletion = tuple[int, int]
_Take = Callable[[list[bytes], list[bytes], list[_Deletion]], None]
#: What a part of the run comes to: how many records, how many of them the log supersedes, the
#: first key, the last one, and the records that are wanted.
_Piece = tuple[int, int, bytes, bytes, list[Record]]


def sift(path: AnyPath, picks: Picks) -> Optional[Sifted]:
    """What `picks` wants of the twoskip file at `path`, or None where the plain reader decides."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (OSError, ValueError):
        return None
    try:
        return _sifted(descriptor, picks)
    except (OSError, _Unusual):
        return None
    finally:
        os.close(descriptor)


def _sifted(descriptor: int, picks: Picks) -> Sifted:
    run_end, end, records = _header(descriptor)
    log = _log(descriptor, run_end, end)
    bounds = [_END, *_boundaries(descriptor, run_end), run_end]
    jobs = [
        partial(_run, descriptor, start, stop, picks, log)
        for start, stop in zip(bounds, bounds[1:])
    ]
    pieces = [piece for piece in parallel(jobs, processors()) if piece is not None]
    if len(pieces) < len(jobs):
        raise _Unusual
    counts, superseded, firsts, lasts, wanted = zip(*pieces)
    if not all(map(lt, lasts, firsts[1:])):
        raise _Unusual
    live = [(key, value) for key, value in log.items() if value is not None]
    kept = [live[index] for index in picks(*(zip(*live) if live else ((), ())))]
    found = len(live) + sum(counts) - sum(superseded)
    if records not in (None, found):
        raise _Unusual
    return Sifted(found, list(chain(*wanted, kept)))


def _header(descriptor: int) -> tuple[int, int, Optional[int]]:
    """Where the run and the log end, and how many live records there are where that is known."""
    raw = os.pread(descriptor, _HEADER.size, 0)
    if len(raw) < _HEADER.size:
        raise _Unusual
    magic, version, _, records, run_end, end, flags, crc = _HEADER.unpack(raw)
    is_sound = magic == _magic.TWOSKIP and version == _VERSION and crc32(raw[:-4]) == crc
    if not is_sound or not _END < run_end <= end or (run_end | end) % 8:
        raise _Unusual
    if end < _WORTH_IT or end > os.fstat(descriptor).st_size or end - run_end > _LARGEST_LOG:
        raise _Unusual
    dummy = _read(descriptor, _START, _END)
    kind, key, value, head_crc, _ = _HEADS[_LEVELS - 1](dummy)
    # Where it is being rewritten the plain reader waits for it.
    if (kind, key, value, crc32(dummy[:-8])) != (_DUMMY, 0, 0, head_crc):
        raise _Unusual
    return run_end, end, None if flags & _DIRTY else records


def _read(descriptor: int, start: int, end: int) -> bytes:
    data = os.pread(descriptor, end - start, start)
    if len(data) < end - start:
        raise _Unusual
    return data


def _log(descriptor: int, start: int, end: int) -> _Changes:
    """What was stored and deleted since the run was written."""
    log = _Log(descriptor, start)
    _walk(descriptor, start, end, log.take)
    return log.changes


class _Log:
    """The log as far as it has been read, behind a run that ends at `run_end`."""

    def __init__(self, descriptor: int, run_end: int) -> None:
        self.changes: _Changes = {}
        self._descriptor = descriptor
        self._run_end = run_end
        #: The live keys of the log in byte order and in mailbox order, once they matter.
        self._orders: Optional[tuple[_Order, _Order]] = None
        self._deletions = 0

    def take(self, keys: list[bytes], values: list[bytes], deletions: list[_Deletion]) -> None:
        self._deletions += len(deletions)
        if self._deletions > _MOST_DELETIONS:
            raise _Unusual
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
        below = _key_at(self._descriptor, following) if following else None
        in_run = self._in_run(below)
        in_log = [order.take_before(below) for order in self._orders]
        plain = max((key for key in (in_run, in_log[0]) if key is not None), default=None)
        both = (key for key in (in_run, in_log[1]) if key is not None)
        mailbox = max(both, default=None, key=_in_mailbox_order)
        if plain is None or plain != mailbox:
            raise _Unusual
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
                raise _Unusual
            if behind is not None and _in_mailbox_order(behind) < place:
                raise _Unusual
        while before in self.changes:
            before, _ = _neighbours(self._descriptor, self._run_end, before)
        return before


def _in_mailbox_order(key: bytes) -> tuple[bytes, bytes]:
    return key.translate(_MAILBOX_ORDER), key


def _key_at(descriptor: int, at: int) -> bytes:
    """The key of the record at `at`, which its checksums vouch for."""
    keys = list[bytes]()
    _records(os.pread(descriptor, _PROBE, at), keys, [], [], most=1)
    if not keys:
        raise _Unusual
    return keys[0]


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
        at = middle + _first_record(os.pread(descriptor, min(_PROBE, run_end - middle), middle))
        if at >= high:
            break
        if key is None or _key_at(descriptor, at) < key:
            low = at
        else:
            high = middle
    keys = list[bytes]()
    _records(_read(descriptor, low, min(run_end, high + _PROBE)), keys, [], [])
    less = bisect.bisect_left(keys, key) if key is not None else len(keys)
    return keys[less - 1] if less else None, keys[less] if less < len(keys) else None


def _run(descriptor: int, start: int, end: int, picks: Picks, log: _Changes) -> Optional[_Piece]:
    """The records from `start` to `end`, which are in order and have each key once."""
    kept: list[Record] = []
    records = superseded = 0
    first = last = b""

    def take(keys: list[bytes], values: list[bytes], deletions: list[_Deletion]) -> None:
        nonlocal records, superseded, first, last
        if not keys and not deletions:
            return
        in_order = not records or last < keys[0]
        if deletions or not in_order or not all(map(lt, keys, keys[1:])):
            raise _Unusual
        first, last = first if records else keys[0], keys[-1]
        records += len(keys)
        superseded += sum(map(log.__contains__, keys)) if log else 0
        kept.extend((keys[at], values[at]) for at in picks(keys, values) if keys[at] not in log)

    try:
        _walk(descriptor, start, end, take)
    except _Unusual:
        return None
    return records, superseded, first, last, kept


def _walk(descriptor: int, start: int, end: int, take: _Take) -> None:
    """Hand the records between two of their boundaries to `take`, some thousand at a time."""
    tries, size = 0, _PIECE
    keys, values, deletions = list[bytes](), list[bytes](), list[_Deletion]()
    while start < end:
        data = _read(descriptor, start, min(end, start + size))
        length = _records(data, keys, values, deletions)
        start += length
        if start >= end or len(keys) >= BATCH:
            take(keys, values, deletions)
            keys, values, deletions = [], [], []
        if length:
            tries, size = 0, _PIECE
            continue
        # A record that does not fit in, or one whose head is being rewritten just now.
        tries, size = tries + 1, min(4 * size, _LARGEST_RECORD)
        if tries > _TRIES:
            raise _Unusual
        time.sleep(_PAUSE)


def _records(
    data: bytes,
    keys: list[bytes],
    values: list[bytes],
    deletions: list[_Deletion],
    most: int = 0,
) -> int:
    """Add what is in `data`; where the first record starts that is not whole or right.

    Raises `_Unusual` where something else stands.
    """
    at, end = 0, len(data)
    data += bytes(_LARGEST_HEAD)
    heads, crcs_at, crc = _HEADS, _CRCS_AT, crc32
    add_key, add_value = keys.append, values.append
    while at < end:
        level = data[at + 1]
        if level >= _LEVELS:
            if not data.startswith(_BLANK, at):
                raise _Unusual
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
                raise _Unusual
            if kind == _DELETE:
                following = int.from_bytes(data[at + 8 : at + 16], "big")
                deletions.append((len(keys), following))
            at = behind
            continue
        if key_length == _LONG_KEY or crc(data[key:behind]) != tail_crc:
            raise _Unusual
        add_key(data[key:value])
        add_value(data[value:stop])
        at = behind
        if most:
            break
    return at


def _boundaries(descriptor: int, end: int) -> list[int]:
    """Where to cut the run: starts of records."""
    count = SHARES * processors()
    found = []
    for index in range(1, count):
        at = (_END + (end - _END) * index // count) & ~7
        data = os.pread(descriptor, _PROBE, at)
        found.append(at + _first_record(data))
    bounds = [at for at in found if at < end]
    return bounds if bounds == sorted(set(bounds)) else []


def _first_record(data: bytes) -> int:
    """The first offset where a record starts, as a right checksum over its head says.

    Whoever reads what comes before has to end up just there, so a coincidence does no harm.
    """
    data += bytes(_LARGEST_HEAD)
    for at in range(0, len(data) - _LARGEST_HEAD, 8):
        if data[at] == _RECORD and data[at + 1] < _LEVELS:
            crcs = at + _CRCS_AT[data[at + 1]]
            if int.from_bytes(data[crcs : crcs + 4], "big") == crc32(data[at:crcs]):
                return at
    raise _Unusual
