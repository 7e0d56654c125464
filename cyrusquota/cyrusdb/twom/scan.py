"""The fast path of twom; the plain reader defines what is right.

header.repack_size says where the run ends and the log starts. Every checksum is checked, every
record is met, and the records are counted, as in the plain reader. Whatever is unusual (damage, no
checksums, long lengths, keys that are not in byte order, a very large log) is left to it.
"""

from __future__ import annotations

import os
import re
import struct
from functools import partial
from typing import Optional

from cyrusquota.cyrusdb import sorted_run
from cyrusquota.cyrusdb.selection import FastPathUnsupported, Selected, Work
from cyrusquota.cyrusdb.sorted_run import PROBE, Batch, Changes, lengths
from cyrusquota.cyrusdb.twom import layout, records
from cyrusquota.cyrusdb.twom.xxh3 import BITS32, checksum, digest
from cyrusquota.errors import AnyPath

# One structure for the whole head of each type and level: type, key length, value length, pointers,
# both checksums.
_RUN_START = layout.DUMMY_AT + layout.DUMMY_SIZE
_LEVELS = layout.MAX_LEVEL + 1
_KINDS = (layout.ADD, layout.REPLACE, layout.DELETE, layout.COMMIT)
#: Where the checksums of a head are, by its type and level.
_CHECKSUMS_AT = {
    kind: tuple(layout.POINTERS[kind] + layout.LONG.size * (at + 1) for at in range(_LEVELS))
    for kind in (*_KINDS, layout.DUMMY)
}
_HEADS = {
    kind: tuple(
        (at, struct.Struct(f"<xxHI{at - layout.START.size}xII").unpack_from)
        for at in _CHECKSUMS_AT[kind]
    )
    for kind in _KINDS
}
#: What may stand behind a value.
_NULS = frozenset(bytes(count) for count in range(1, layout.ALIGN + 1))
#: A record of the run as most are, short and without NULs in it. The groups are its level and
#: lengths, the head, the checksums, the tail, the key and the value; all are empty for any other
#: byte.
_USUAL = re.compile(
    rb"(?=.(..\0.\0\0\0))(%b(?:%b))(.{%d})(([^\0]+)\0([^\0]*)\0{1,%d})|."
    % (
        re.escape(bytes((layout.ADD,))),
        b"|".join(
            rb"%b.{%d}" % (re.escape(bytes((level,))), _CHECKSUMS_AT[layout.ADD][level] - 2)
            for level in range(1, _LEVELS)
        ),
        layout.CHECKSUMS.size,
        layout.ALIGN,
    ),
    re.DOTALL,
)
#: Lengths of what ends where a record may start.
_WHOLE = bytes(range(0, 256, layout.ALIGN))
#: Where the lengths are in the first group, and how long that is.
_KEY_LENGTH, _VALUE_LENGTH, _GROUP = 1, 3, layout.START.size - 1
#: The end of a record and the start of another.
_BETWEEN = bytes((0, layout.ADD, 1))
_STORES = layout.STORES.intersection(_KINDS)
_LARGEST_HEAD = _CHECKSUMS_AT[layout.REPLACE][-1] + layout.CHECKSUMS.size

#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 27


def select(path: AnyPath, work: Work) -> Optional[Selected]:
    """Return what `work` wants or makes of a file, or None where the plain reader decides."""
    return sorted_run.select(path, partial(_selected, work=work))


def _selected(descriptor: int, work: Work) -> Selected:
    run_end, end, known = _header(descriptor)
    log = _Log(descriptor, run_end, work)
    sorted_run.walk(descriptor, run_end, end, _records, log.take)
    bounds = sorted_run.boundaries(_RUN_START, run_end, partial(_first_record, descriptor))
    found = sorted_run.selected_run(descriptor, bounds, _records, work, log.changes)
    if found.records != known:
        raise FastPathUnsupported
    return found


def _header(descriptor: int) -> tuple[int, int, int]:
    """Return where the run and the log end, and how many live records there are."""
    raw = os.pread(descriptor, layout.HEADER.size, 0)
    header = records.checked_header(raw) if records.is_header(raw) else None
    if header is None or header.version != layout.VERSION:
        raise FastPathUnsupported
    if header.flags & (layout.CSUM_NULL | layout.CSUM_EXTERNAL):
        raise FastPathUnsupported
    run_end, end = header.repack_size, header.current_size
    if not _RUN_START < run_end <= end or (run_end | end) % layout.ALIGN:
        raise FastPathUnsupported
    sorted_run.check_sizes(run_end, end, os.fstat(descriptor).st_size, _LARGEST_LOG)
    dummy = sorted_run.read(descriptor, layout.DUMMY_AT, _RUN_START)
    of_head, _ = layout.CHECKSUMS.unpack(dummy[-layout.CHECKSUMS.size :])
    is_dummy = dummy[:2] == bytes((layout.DUMMY, layout.MAX_LEVEL))
    # Where it is being rewritten the plain reader waits for it.
    if not is_dummy or checksum(dummy[: -layout.CHECKSUMS.size]) != of_head:
        raise FastPathUnsupported
    return run_end, end, header.num_records


class _Log:
    """The log as far as it has been read, behind a run that ends at `run_end`."""

    def __init__(self, descriptor: int, run_end: int, work: Work) -> None:
        self.changes: Changes = {}
        self._descriptor = descriptor
        self._run_end = run_end
        self._work = work

    def take(self, batch: Batch) -> None:
        keys, done = batch.keys, 0
        values = sorted_run.wanted_values(keys, batch.values, self._work)
        for index, ancestor in batch.deletions:
            self.changes.update(zip(keys[done:index], values[done:index]))
            key = sorted_run.key_at(self._descriptor, ancestor, _records)
            was_live = self.changes.get(key, b"" if ancestor < self._run_end else None)
            if was_live is None:
                raise FastPathUnsupported
            self.changes[key] = None
            done = index
        self.changes.update(zip(keys[done:], values[done:]))


def _records(data: bytes, base: int, batch: Batch, most: int) -> int:
    """Add what is in `data`, as `sorted_run.Records` has it; nothing asks where a record starts."""
    at, end = 0 if most else _usual(data, batch), len(data)
    keys, values = batch.keys, batch.values
    data += bytes(_LARGEST_HEAD)
    heads, hashed, low, nuls, stores = _HEADS, digest(), BITS32, _NULS, _STORES
    checksums_size, align = layout.CHECKSUMS.size, layout.ALIGN
    while at < end:
        kind, level = data[at], data[at + 1]
        if kind not in heads or level >= _LEVELS:
            raise FastPathUnsupported
        checksums, unpack = heads[kind][level]
        key_length, value_length, of_head, of_tail = unpack(data, at)
        checksums += at
        key = checksums + checksums_size
        if kind not in stores:
            if most:
                raise FastPathUnsupported
            if key > end or hashed(data[at:checksums]) & low != of_head:
                break
            if kind == layout.DELETE:
                ancestor_at = at + layout.ANCESTOR[kind]
                batch.deletions.append((len(keys), layout.LONG.unpack_from(data, ancestor_at)[0]))
            at = key
            continue
        key_end = key + key_length
        stop = key_end + 1 + value_length
        behind = (stop + align) & -align
        if behind > end or hashed(data[at:checksums]) & low != of_head:
            break
        # Nothing but NULs behind the key and the value.
        is_right = hashed(data[key:behind]) & low == of_tail
        if not is_right or data[key_end] or data[stop:behind] not in nuls:
            raise FastPathUnsupported
        keys.append(data[key:key_end])
        values.append(data[key_end + 1 : stop])
        at = behind
        if most:
            break
    return at


def _usual(data: bytes, batch: Batch) -> int:
    """Add all records in `data` but the last few; return how many bytes they have.

    Only where all are as most are, and then in less time than one by one; else none are added.
    """
    end = data.rfind(_BETWEEN) + 1
    rows = _USUAL.findall(data, 0, end)
    if not rows:
        return 0
    starts, heads, checksums, tails, keys, values = zip(*rows)
    start, hashed, low = b"".join(starts), digest(), BITS32
    # Any other byte in between has no start, and a key and a value of length 0.
    is_right = (
        start[_KEY_LENGTH::_GROUP] == lengths(keys)
        and start[_VALUE_LENGTH::_GROUP] == lengths(values)
        and (lengths(tails) or b"\1").translate(None, _WHOLE) == b""
    )
    if not is_right:
        return 0
    stored = list(struct.unpack(f"<{2 * len(rows)}I", b"".join(checksums)))
    if [hashed(head) & low for head in heads] != stored[::2]:
        return 0
    if [hashed(tail) & low for tail in tails] != stored[1::2]:
        return 0
    batch.keys += keys
    batch.values += values
    return end


def _first_record(descriptor: int, start: int) -> int:
    """Return the first offset from `start` on where a record with a right head starts."""
    start &= -layout.ALIGN
    data = os.pread(descriptor, PROBE, start) + bytes(_LARGEST_HEAD)
    for at in range(0, len(data) - _LARGEST_HEAD, layout.ALIGN):
        if data[at] == layout.ADD and data[at + 1] < _LEVELS:
            checksums = at + _CHECKSUMS_AT[layout.ADD][data[at + 1]]
            if layout.CHECKSUMS.unpack_from(data, checksums)[0] == checksum(data[at:checksums]):
                return start + at
    raise FastPathUnsupported
