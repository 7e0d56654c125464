"""Bulk reading of twom; cyrusdb/twom.py defines what is right.

header.repack_size says where the run ends and the log starts. Every checksum is checked, every
record is met, and the records are counted, as in the plain reader. Whatever is unusual (damage, no
checksums, long lengths, keys that are not in byte order, a very large log) is left to it.
"""

from __future__ import annotations

import os
import struct
from functools import partial
from typing import Optional

from cyrusquota.cyrusdb import sorted_run as run
from cyrusquota.cyrusdb.selection import Picks, Sifted, Unusual
from cyrusquota.cyrusdb.sorted_run import PROBE, Changes, Deletion
from cyrusquota.cyrusdb.twom.reader import (
    _ADD,
    _COMMIT,
    _CSUM_EXTERNAL,
    _CSUM_NULL,
    _DELETE,
    _DUMMY,
    _DUMMY_SIZE,
    _HEADER,
    _MAX_LEVEL,
    _POINTERS,
    _REPLACE,
    _VERSION,
    MAGIC,
)
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.errors import AnyPath

# The layout is that of the plain reader, with one structure for the whole head of each level: type,
# key length, value length, pointers, both checksums.
_WORD = struct.Struct("<I")
_LEVELS = _MAX_LEVEL + 1
_START, _END = _HEADER.size, _HEADER.size + _DUMMY_SIZE
_HEADS = {
    kind: tuple(
        struct.Struct(f"<xxHI{_POINTERS[kind] - 8 + 8 * (level + 1)}xII").unpack_from
        for level in range(_LEVELS)
    )
    for kind in (_ADD, _REPLACE, _DELETE, _COMMIT)
}
_STORES = frozenset((_ADD, _REPLACE))
_LARGEST_HEAD = 16 + 8 * _LEVELS + 8

#: Below this the plain reader is as quick.
_WORTH_IT = 1 << 16
#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 27


def sift(path: AnyPath, picks: Picks) -> Optional[Sifted]:
    """What `picks` wants of the twom file at `path`, or None where the plain reader decides."""
    return run.sift(path, partial(_sifted, picks=picks))


def _sifted(descriptor: int, picks: Picks) -> Sifted:
    run_end, end, records = _header(descriptor)
    log = _Log(descriptor, run_end)
    run.walk(descriptor, run_end, end, _records, log.take)
    bounds = run.boundaries(_END, run_end, partial(_first_record, descriptor))
    found, _ = run.sifted_run(descriptor, bounds, _records, picks, log.changes)
    if found.records != records:
        raise Unusual
    return found


def _header(descriptor: int) -> tuple[int, int, int]:
    """Where the run and the log end, and how many live records there are."""
    raw = os.pread(descriptor, _HEADER.size, 0)
    if len(raw) < _HEADER.size:
        raise Unusual
    magic, _, version, flags, _, records, _, _, run_end, end, _, stored = _HEADER.unpack(raw)
    if magic != MAGIC or version != _VERSION or flags & (_CSUM_NULL | _CSUM_EXTERNAL):
        raise Unusual
    if checksum(raw[:-4]) != stored or not _END < run_end <= end or (run_end | end) % 8:
        raise Unusual
    if end < _WORTH_IT or end > os.fstat(descriptor).st_size or end - run_end > _LARGEST_LOG:
        raise Unusual
    dummy = run.read(descriptor, _START, _END)
    # Where it is being rewritten the plain reader waits for it.
    if dummy[:2] != bytes((_DUMMY, _LEVELS - 1)) or checksum(dummy[:-8]) != _word(dummy, -8):
        raise Unusual
    return run_end, end, records


class _Log:
    """The log as far as it has been read, behind a run that ends at `run_end`."""

    def __init__(self, descriptor: int, run_end: int) -> None:
        self.changes: Changes = {}
        self._descriptor = descriptor
        self._run_end = run_end

    def take(self, keys: list[bytes], values: list[bytes], deletions: list[Deletion]) -> None:
        done = 0
        for index, ancestor in deletions:
            self.changes.update(zip(keys[done:index], values[done:index]))
            key = run.key_at(self._descriptor, ancestor, _records)
            was_live = self.changes.get(key, b"" if ancestor < self._run_end else None)
            if was_live is None:
                raise Unusual
            self.changes[key] = None
            done = index
        self.changes.update(zip(keys[done:], values[done:]))


def _word(data: bytes, at: int) -> int:
    found: int = _WORD.unpack_from(data, at)[0]
    return found


def _records(
    data: bytes, keys: list[bytes], values: list[bytes], deletions: list[Deletion], most: int
) -> int:
    """Add what is in `data`, as `run.Records` has it."""
    at, end = 0, len(data)
    data += bytes(_LARGEST_HEAD)
    heads, fronts, hashed = _HEADS, _POINTERS, checksum
    while at < end:
        kind, level = data[at], data[at + 1]
        if kind not in heads or level >= _LEVELS:
            raise Unusual
        key_length, value_length, of_head, of_tail = heads[kind][level](data, at)
        checksums = at + fronts[kind] + 8 * (level + 1)
        key = checksums + 8
        if kind not in _STORES:
            if most:
                raise Unusual
            if key > end or hashed(data[at:checksums]) != of_head:
                break
            if kind == _DELETE:
                deletions.append((len(keys), int.from_bytes(data[at + 8 : at + 16], "little")))
            at = key
            continue
        value = key + key_length + 1
        stop = value + value_length
        behind = stop + 1 + (-(key_length + value_length + 2) & 7)
        if behind > end or hashed(data[at:checksums]) != of_head:
            break
        # Nothing but NULs behind the key and the value.
        if hashed(data[key:behind]) != of_tail or data[value - 1] or any(data[stop:behind]):
            raise Unusual
        keys.append(data[key : value - 1])
        values.append(data[value:stop])
        at = behind
        if most:
            break
    return at


def _first_record(descriptor: int, start: int) -> int:
    """The first offset from `start` on where a record starts, as a right head checksum says."""
    start &= ~7
    data = os.pread(descriptor, PROBE, start) + bytes(_LARGEST_HEAD)
    for at in range(0, len(data) - _LARGEST_HEAD, 8):
        if data[at] == _ADD and data[at + 1] < _LEVELS:
            checksums = at + _POINTERS[_ADD] + 8 * (data[at + 1] + 1)
            if _word(data, checksums) == checksum(data[at:checksums]):
                return start + at
    raise Unusual
