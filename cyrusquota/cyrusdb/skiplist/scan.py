"""The fast path of skiplist; the plain reader defines what is right.

The header says where the run ends and the log starts. The log is read in one piece, at a moment at
which nobody writes; the run behind which it stands never changes afterwards but for its pointers,
until a checkpoint cuts the file to nothing, which shows. All that has a rule is held to it, as in
the plain reader. Whatever is unusual (damage, a log that contradicts itself or does not end with a
whole record, keys that are not in byte order, a very large log) is left to it.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Optional

from cyrusquota.cyrusdb import sorted_run
from cyrusquota.cyrusdb.database import Unreadable, attempts, identity
from cyrusquota.cyrusdb.selection import FastPathUnsupported, Selected, Work
from cyrusquota.cyrusdb.skiplist import layout, records
from cyrusquota.cyrusdb.sorted_run import PROBE, Batch, Changes, lengths
from cyrusquota.errors import AnyPath

#: The end of one record of the run and the start of the next.
_BETWEEN = layout.PADDING + layout.WORD.pack(layout.INORDER)
_SMALLEST = layout.START.size + layout.WORD.size
#: A record of the run as most are, short and with a value in parentheses. The groups are the length
#: of the key, the key, the zeros behind it, the length of the value, and the value; all are empty
#: for any other byte. The lengths of the first four tell where the value starts, and the pointers
#: can only end where they do.
_USUAL = re.compile(
    rb"%b\0\0\0(.)([^\0]+)(\0+)(.)(%%[^\0]*\))\0{0,3}(?:[^\xff]..[%b]){1,%d}%b|."
    % (
        re.escape(layout.WORD.pack(layout.INORDER)),
        re.escape(layout.LAST_BYTES),
        layout.MAX_LEVEL,
        layout.PADDING,
    ),
    re.DOTALL,
)
#: By the length of a key: how many zeros follow, those of the next length included.
_ZEROS = bytes(-length % layout.ALIGN + layout.WORD.size - 1 for length in range(256))

#: As much of the log as may be held at once.
_LARGEST_LOG = 1 << 26
_TRIES = 20


def select(path: AnyPath, work: Work) -> Optional[Selected]:
    """Return what `work` wants or makes of a file, or None where the plain reader decides."""
    return sorted_run.select(path, partial(_selected, work=work))


def _selected(descriptor: int, work: Work) -> Selected:
    start, end, data = _log_of(descriptor)
    log = _Log(descriptor, start, end)
    log.read(data)
    log.forget_unwanted(work)
    bounds = sorted_run.boundaries(start, end, partial(_first_record, descriptor))
    # A key is deleted before it is added again.
    return sorted_run.selected_run(
        descriptor, bounds, _records, work, log.changes, log.deleted_in_run
    )


def _log_of(descriptor: int) -> tuple[int, int, bytes]:
    """Return where the run starts and ends, and what stands behind it, all from one moment."""
    for _ in attempts(_TRIES):
        then = os.fstat(descriptor)
        start, end = _run_in(descriptor, then.st_size)
        data = sorted_run.read(descriptor, end, then.st_size)
        if identity(os.fstat(descriptor)) == identity(then):
            return start, end, data
    raise FastPathUnsupported


def _run_in(descriptor: int, size: int) -> tuple[int, int]:
    try:
        header, start = records.head_of_file(os.pread(descriptor, records.HEAD_SIZE, 0))
    except (Unreadable, records.Unfinished):
        raise FastPathUnsupported from None
    end = header.logstart
    if not start < end <= size or end % layout.ALIGN:
        raise FastPathUnsupported
    sorted_run.check_sizes(end, size, size, _LARGEST_LOG)
    return start, end


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
            if size - at < layout.WORD.size:
                raise FastPathUnsupported
            kind = _word(data, at)
            if kind == layout.ADD:
                key, value, end = _record(data, at, layout.ADD)
                keys[self._run.stop + at] = key
                transaction.append((self._run.stop + at, key, value))
                at = end
            elif kind == layout.DELETE:
                if size - at < layout.START.size:
                    raise FastPathUnsupported
                _, offset = layout.START.unpack_from(data, at)
                key = keys[offset] if offset in keys else self._key_in_run(offset)
                transaction.append((offset, key, None))
                at += layout.START.size
            elif kind == layout.COMMIT:
                for offset, key, new in transaction:
                    self._apply(offset, key, new)
                transaction.clear()
                at += layout.WORD.size
            else:
                raise FastPathUnsupported

    def forget_unwanted(self, work: Work) -> None:
        """Drop the values that nobody wants."""
        stored = {key: value for key, value in self.changes.items() if value is not None}
        values = sorted_run.wanted_values(list(stored), list(stored.values()), work)
        self.changes.update(zip(stored, values))

    def _apply(self, offset: int, key: bytes, value: Optional[bytes]) -> None:
        if value is not None:
            if self.changes.get(key) is not None:
                raise FastPathUnsupported
            self._added[key] = offset
        elif offset not in self._run:
            if self._added.pop(key, None) != offset:
                raise FastPathUnsupported
        elif key in self.deleted_in_run or key in self._added:
            raise FastPathUnsupported
        else:
            self.deleted_in_run.add(key)
        self.changes[key] = value

    def _key_in_run(self, offset: int) -> bytes:
        is_first = offset == self._run.start
        if offset % layout.ALIGN or offset not in self._run:
            raise FastPathUnsupported
        if not is_first and self._padding_before(offset) != layout.PADDING:
            raise FastPathUnsupported
        return sorted_run.key_at(self._descriptor, offset, _records)

    def _padding_before(self, offset: int) -> bytes:
        size = len(layout.PADDING)
        return os.pread(self._descriptor, size, offset - size)


def _word(data: bytes, at: int) -> int:
    found: int = layout.WORD.unpack_from(data, at)[0]
    return found


def _record(data: bytes, at: int, kind: int) -> tuple[bytes, bytes, int]:
    """Return the key and the value of the record at `at`, and where it ends."""
    batch = Batch()
    end = at + _whole(data, at, kind, batch, 1)
    if not batch.keys:
        raise FastPathUnsupported
    return batch.keys[0], batch.values[0], end


def _records(data: bytes, base: int, batch: Batch, most: int) -> int:
    """Add what is in `data`, as `sorted_run.Records` has it; no deletions are in a run.

    Nothing here asks where a record starts.
    """
    start = 0 if most else _usual(data, batch)
    return start + _whole(data, start, layout.INORDER, batch, most)


def _usual(data: bytes, batch: Batch) -> int:
    """Add all whole records in `data` but the last few; return how many bytes they have.

    Only where all are as most are, and then in less time than `_whole`; else none are added.
    """
    end = data.rfind(_BETWEEN) + len(layout.PADDING)
    rows = _USUAL.findall(data, 0, end)
    if not rows:
        return 0
    of_keys, keys, zeros, of_values, values = zip(*rows)
    key_lengths = b"".join(of_keys)
    # Any other byte in between has no length, and a key and a value of length 0.
    is_right = (
        key_lengths == lengths(keys)
        and b"".join(of_values) == lengths(values)
        and key_lengths.translate(_ZEROS) == lengths(zeros)
    )
    if not is_right:
        return 0
    batch.keys += keys
    batch.values += values
    return end


def _whole(data: bytes, start: int, kind: int, batch: Batch, most: int) -> int:
    """Add the whole records of one kind from `start` on; how many bytes they have."""
    at, size = start, len(data)
    add_key, add_value = batch.keys.append, batch.values.append
    unpack_start, unpack_word, find = layout.START.unpack_from, layout.WORD.unpack_from, data.find
    start_size, word_size, align = layout.START.size, layout.WORD.size, layout.ALIGN
    padding, last_bytes, below = layout.PADDING, layout.LAST_BYTES, layout.ALIGN - 1
    while at + _SMALLEST <= size:
        found, length = unpack_start(data, at)
        if found != kind or not length:
            raise FastPathUnsupported
        key = at + start_size
        key_end = key + length
        value = key_end + (-length & below) + word_size
        if value > size:
            break
        (length,) = unpack_word(data, value - word_size)
        value_end = value + length
        pointers = value_end + (-length & below)
        limit = pointers + layout.LONGEST_POINTERS
        end = find(padding, pointers, limit)
        if end < 0:
            if limit <= size:
                raise FastPathUnsupported
            break
        if (
            end == pointers
            or (end - pointers) & below
            or (data[pointers + below : end : align].strip(last_bytes))
        ):
            raise FastPathUnsupported
        if data[key_end : value - word_size].strip(b"\0") or data[value_end:pointers].strip(b"\0"):
            raise FastPathUnsupported
        add_key(data[key:key_end])
        add_value(data[value:value_end])
        at = end + len(padding)
        if most:
            break
    return at - start


def _first_record(descriptor: int, start: int) -> int:
    """Return the first offset from `start` on where a record of the run may start."""
    start &= -layout.ALIGN
    data = os.pread(descriptor, PROBE, start)
    at = data.find(_BETWEEN)
    while at >= 0 and at % layout.ALIGN:
        at = data.find(_BETWEEN, at + 1)
    if at < 0:
        raise FastPathUnsupported
    return start + at + len(layout.PADDING)
