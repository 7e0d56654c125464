"""The fast path of twoskip; the plain reader defines what is right.

header.repack_size says where the run ends and the log starts. Every record is met, its checksums
prove it, and the records are counted, as in the plain reader. Where the log has deletions, all
records of the run and all keys of the log get a place in the order of the database, which tells
whom they mean. Whatever is unusual (damage, keys that are not in byte order, keys of the log that
mailbox order puts elsewhere, a very large log) is left to the plain reader.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from array import array
from bisect import bisect_left
from functools import partial
from operator import lt
from typing import Optional, Sequence
from zlib import crc32

import attrs

from cyrusquota.cyrusdb import sorted_run
from cyrusquota.cyrusdb.database import Unreadable, mailbox_order
from cyrusquota.cyrusdb.selection import (
    FastPathUnsupported,
    Fold,
    Selected,
    Work,
    everything,
    selected,
)
from cyrusquota.cyrusdb.sorted_run import (
    IS_SURE,
    IS_THERE,
    PROBE,
    Asked,
    Batch,
    Changes,
    Run,
    lengths,
)
from cyrusquota.cyrusdb.twoskip import deletions, layout, records
from cyrusquota.errors import AnyPath

# One structure for the whole head of each level: type, key length, value length, pointers, both
# checksums.
_RUN_START = layout.DUMMY_AT + layout.DUMMY_SIZE
_LEVELS = layout.MAX_LEVEL + 1
#: Where the checksums of a head are, by its level.
_CRCS_AT = tuple(layout.START.size + layout.LONG.size * (level + 1) for level in range(_LEVELS))
_HEADS = tuple(
    (at, struct.Struct(f">BxHI{at - layout.START.size}xII").unpack_from) for at in _CRCS_AT
)
#: A deletion or a commit: type, lengths, its one pointer, and the checksum of these.
_NAMELESS = struct.Struct(">Bx6sQI")
_LARGEST_HEAD = _CRCS_AT[-1] + layout.CRCS.size

#: A record as most are: short, with a value in parentheses. The groups are its level and lengths,
#: the checksum of the tail, the tail, the key and the value; all are empty for any other byte. The
#: tail proves the head (`records.tail_proves`): offsets begin with a zero, and the padding ends it.
_USUAL = re.compile(
    rb"%b(?=(.\0.\0\0\0.))(?:%b).{4}(.{4})(([^%%]+)(%%[^\0]*\))\0{0,%d})(?:%b)*|."
    % (
        re.escape(bytes((layout.RECORD,))),
        b"|".join(
            re.escape(bytes((level,))) + b".{6}" + rb"\0.{7}" * (level + 1)
            for level in range(1, _LEVELS)
        ),
        layout.ALIGN - 1,
        layout.BLANK,
    ),
    re.DOTALL,
)
#: Lengths of what ends where a record may start.
_WHOLE = bytes(range(0, 256, layout.ALIGN))
#: Where the lengths are in the first group, and how long that is.
_KEY_LENGTH, _VALUE_LENGTH, _GROUP = 2, 6, layout.START.size - 1
#: How a record starts.
_START = bytes((layout.RECORD, 1, 0))

#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 27


def select(path: AnyPath, work: Work) -> Optional[Selected]:
    """Return what `work` wants or makes of a file, or None where the plain reader decides."""
    return sorted_run.select(path, partial(_selected, work=work))


def _selected(descriptor: int, work: Work) -> Selected:
    run_end, end, known = _header(descriptor)
    log = _Log(work)
    sorted_run.walk(descriptor, run_end, end, _records, log.take, has_starts=True)
    bounds = sorted_run.boundaries(_RUN_START, run_end, partial(_first_record, descriptor))
    asked = log.asked()
    # Which records are deleted is known only when the whole run has been read.
    first = everything if asked is not None and isinstance(work, Fold) else work
    run = sorted_run.read_run(descriptor, bounds, _records, first, log.changes, asked)
    if asked is not None:
        run = log.without_deleted(run, asked)
    found = sorted_run.with_log(run, first, log.changes)
    if known not in (None, found.records):
        raise FastPathUnsupported
    return found if first is work else selected(found.kept, work)


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
    if not records.is_dummy(dummy, 0, layout.DUMMY_AT):
        raise FastPathUnsupported
    return run_end, end, None if header.flags & layout.DIRTY else header.num_records


class _Log:
    """What was stored and deleted since the run was written."""

    def __init__(self, work: Work) -> None:
        self.changes: Changes = {}
        self._work = work
        self._keys: list[bytes] = []
        self._starts = array("q")
        #: How many records come before each deletion, and where the one starts that it names: any
        #: number of 64 bits, if the file is bad.
        self._before, self._behind = array("q"), array("Q")

    def take(self, batch: Batch) -> None:
        if batch.deletions:
            before, behind = zip(*batch.deletions)
            self._before.extend(map(len(self._keys).__add__, before))
            self._behind.extend(behind)
        values = sorted_run.wanted_values(batch.keys, batch.values, self._work)
        self.changes.update(zip(batch.keys, values))
        self._keys += batch.keys
        self._starts.extend(batch.starts)

    def asked(self) -> Optional[Asked]:
        """Return what has to be known of the run to tell whom the deletions mean."""
        if not self._behind:
            return None
        behind = set(self._behind).difference(self._starts, (0,))
        return Asked(sorted(self.changes), frozenset(behind))

    def without_deleted(self, run: Run, asked: Asked) -> Run:
        """Return what of the run is live, and mark the keys deleted last in `changes`.

        Its index has what was `asked`.
        """
        count, index, stored = run.records, run.index, asked.keys
        of_run, of_stored = _in_one_order(count, stored, index.places)
        if len(index.starting) < len(asked.starts):
            raise FastPathUnsupported
        in_run = {**index.starting, 0: deletions.END}
        # Dictionaries of all keys and starts in the log would take ten times the memory.
        in_log = array("q", (of_stored[bisect_left(stored, key)] for key in self._keys))
        behind = array(
            "q",
            (
                in_run[start] if start in in_run else count + bisect_left(self._starts, start)
                for start in self._behind
            ),
        )
        try:
            live = deletions.live_records(
                of_run + in_log,
                max(of_run[-1:] + of_stored[-1:]) + 1,
                array("q", map(count.__add__, self._before)),
                behind,
            )
        except Unreadable:
            raise FastPathUnsupported from None
        self.changes.update((key, None) for key, at in zip(stored, of_stored) if live[at] < 0)
        kept = [record for record, at in zip(run.kept, index.kept) if live[of_run[at]] >= 0]
        of_log = len(stored) - list(self.changes.values()).count(None)
        count = len(live) - live.count(-1) - of_log
        return attrs.evolve(run, records=count, kept=kept, superseded=0)


def _in_one_order(
    count: int, stored: list[bytes], places: Sequence[int]
) -> tuple[array[int], array[int]]:
    """Return the place of each record of the run and of each key of the log among all of them.

    The database may be in mailbox order; raises `FastPathUnsupported` where that matters.
    """
    of_run, of_stored = array("q"), array("q")
    new = list[bytes]()
    for key, place in zip(stored, places):
        of_stored.append((place >> 2) + len(new))
        if not place & IS_THERE:
            if not place & IS_SURE:
                raise FastPathUnsupported
            of_run.extend(range(len(of_run) + len(new), of_stored[-1]))
            new.append(key)
    of_run.extend(range(len(of_run) + len(new), count + len(new)))
    order = list(map(mailbox_order, new))
    if not all(map(lt, order, order[1:])):
        raise FastPathUnsupported
    return of_run, of_stored


def _records(data: bytes, base: int, batch: Batch, most: int) -> int:
    """Add what is in `data`, as `sorted_run.Records` has it."""
    # One by one where it is asked where they start.
    at, end = 0 if most or batch.has_starts else _usual(data, batch), len(data)
    data += bytes(_LARGEST_HEAD)
    heads, levels, crc, align = _HEADS, _LEVELS, crc32, layout.ALIGN
    a_record, long_key, crcs_size = layout.RECORD, layout.LONG_KEY, layout.CRCS.size
    keys, values, starts = batch.keys, batch.values, batch.starts
    has_starts = batch.has_starts
    a_deletion, kinds, nameless = (
        *(layout.DELETE, (layout.COMMIT, layout.DELETE)),
        _NAMELESS.unpack_from,
    )
    no_lengths = bytes(layout.START.size - 2)
    nameless_crcs_at, nameless_size = _CRCS_AT[0], _CRCS_AT[0] + layout.CRCS.size
    while at < end:
        level = data[at + 1]
        if level >= levels:
            if not data.startswith(layout.BLANK, at):
                raise FastPathUnsupported
            at += len(layout.BLANK)
            continue
        if not level and not most:
            # A purge leaves nothing else.
            kind, lengths, following, head_crc = nameless(data, at)
            if kind in kinds and lengths == no_lengths and at + nameless_size <= end:
                if crc(data[at : at + nameless_crcs_at]) != head_crc:
                    break
                if kind == a_deletion:
                    batch.deletions.append((len(keys), following))
                at += nameless_size
                continue
        crcs, unpack = heads[level]
        kind, key_length, value_length, head_crc, tail_crc = unpack(data, at)
        crcs += at
        key = crcs + crcs_size
        value = key + key_length
        stop = value + value_length
        behind = (stop + align - 1) & -align
        if behind > end or crc(data[at:crcs]) != head_crc:
            if key_length == long_key:
                raise FastPathUnsupported
            break
        if kind != a_record or crc(data[key:behind]) != tail_crc:
            raise FastPathUnsupported
        keys.append(data[key:value])
        values.append(data[value:stop])
        if has_starts:
            starts.append(base + at)
        at = behind
        if most:
            break
    return at


def _usual(data: bytes, batch: Batch) -> int:
    """Add all records in `data` but the last few; return how many bytes they have.

    Only where all are as most are, and then in less time than one by one; else none are added.
    """
    end = max(0, data.rfind(_START))
    rows = _USUAL.findall(data, 0, end)
    if not rows:
        return 0
    starts, crcs, tails, keys, values = zip(*rows)
    start = b"".join(starts)
    # Any other byte in between has no start, and a key and a value of length 0.
    is_right = (
        start[_KEY_LENGTH::_GROUP] == lengths(keys)
        and start[_VALUE_LENGTH::_GROUP] == lengths(values)
        and (lengths(tails) or b"\1").translate(None, _WHOLE) == b""
    )
    if not is_right or tuple(map(crc32, tails)) != struct.unpack(f">{len(rows)}I", b"".join(crcs)):
        return 0
    batch.keys += keys
    batch.values += values
    return end


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
