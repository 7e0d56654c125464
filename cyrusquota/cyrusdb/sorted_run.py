"""Select from a sorted run of records, and a log behind it of what changed since.

That is how a checkpoint or a repack leaves a file of skiplist, twoskip or twom. So what has to be
known of every record at once is only the log: a record of the run is live unless the log has its
key. The run is cut into pieces for all processors and read a little at a time. How a record looks,
and what the log makes of them, is for the module of each format to say.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from bisect import bisect_left, bisect_right
from functools import partial
from itertools import chain, compress
from operator import lt
from typing import Callable, Iterable, Mapping, Optional, Sequence

import attrs

from cyrusquota.cyrusdb import database
from cyrusquota.cyrusdb.database import descriptor_of, mailbox_order
from cyrusquota.cyrusdb.parallel import SHARES, parallel, processors
from cyrusquota.cyrusdb.selection import (
    BATCH,
    FastPathUnsupported,
    Fold,
    Record,
    Selected,
    Work,
    results,
)
from cyrusquota.errors import AnyPath

#: What the log stores, by key, `UNWANTED` in place of what nobody wants; None where it deletes.
Changes = dict[bytes, Optional[bytes]]


class _Unwanted(bytes):
    """A value that need not be held."""


#: Not the same as an empty value.
UNWANTED = _Unwanted()
#: How many records come before a deletion, and the number by which it says what it deletes.
Deletion = tuple[int, int]


@attrs.define
class Batch:
    """Some records in the order in which they stand, and the deletions among them."""

    #: Whether to note where each record starts in the file.
    has_starts: bool = False
    keys: list[bytes] = attrs.field(factory=list)
    values: list[bytes] = attrs.field(factory=list)
    starts: list[int] = attrs.field(factory=list)
    deletions: list[Deletion] = attrs.field(factory=list)


#: Adds what is in some bytes, which stand at an offset of the file, at most so many records if not
#: 0, and gives how many bytes come before the first record that is not whole or right. Raises
#: `FastPathUnsupported` where something else stands.
Records = Callable[[bytes, int, Batch, int], int]
Take = Callable[[Batch], None]

_PIECE = 1 << 16
#: Where a record is looked for; one that is not found in so much counts as none.
PROBE = 1 << 16
#: In how many bytes a single record is read first.
_USUAL = 1 << 9
#: Below this the plain reader is as quick.
WORTH_IT = 1 << 16
#: Below this another process costs more than it does.
_WORTH_SHARING = 1 << 20
_LARGEST_RECORD = 1 << 24
_TRIES = 20


def select(path: AnyPath, selected: Callable[[int], Selected]) -> Optional[Selected]:
    """Return what `selected` makes of the open file, or None where the plain reader decides."""
    try:
        descriptor = descriptor_of(path)
    except (OSError, ValueError):
        return None
    try:
        return selected(descriptor)
    except (OSError, FastPathUnsupported):
        return None
    finally:
        os.close(descriptor)


def check_sizes(run_end: int, end: int, size: int, largest_log: int) -> None:
    """Raise `FastPathUnsupported` where a file is too small, cut off, or its log too large."""
    if end < WORTH_IT or end > size or end - run_end > largest_log:
        raise FastPathUnsupported


@attrs.frozen
class Run:
    """A run, of which it may not be known yet which records the log deletes.

    `kept` are the wanted records of keys that the log does not have, and `superseded` is how many
    there are of keys that it has.
    """

    records: int
    kept: list[Record]
    superseded: int
    index: Index


@attrs.frozen
class Index:
    """How many records of a run come before each of the kept ones, and where others belong.

    `starting` has the same of the records that start where it was asked for, by their starts, and
    `places` of the keys that were asked for, with two bits behind: `IS_THERE` if the next record
    has this very key, and `IS_SURE` if mailbox order puts it there as well.
    """

    kept: Sequence[int]
    starting: Mapping[int, int]
    places: Sequence[int]


@attrs.frozen
class Asked:
    """What an `Index` is asked for: keys, which are sorted, and where records start."""

    keys: list[bytes]
    starts: frozenset[int]


IS_THERE, IS_SURE = 2, 1


def selected_run(
    descriptor: int,
    bounds: list[int],
    records: Records,
    work: Work,
    changes: Changes,
    deleted: Optional[set[bytes]] = None,
) -> Selected:
    """Return what is live and wanted of a run and its log.

    The run is cut at `bounds`. Raises `FastPathUnsupported`, also where the keys that both have are
    not those that are `deleted`, if given.
    """
    run = read_run(descriptor, bounds, records, work, changes, deleted=deleted)
    if deleted is not None and run.superseded != len(deleted):
        raise FastPathUnsupported
    return with_log(run, work, changes)


def with_log(run: Run, work: Work, changes: Changes) -> Selected:
    """Return what is live and wanted of a run and its log."""
    live = len(changes) - list(changes.values()).count(None)
    found = [
        (key, value)
        for key, value in changes.items()
        if value is not None and value is not UNWANTED
    ]
    if isinstance(work, Fold):
        found = results(work, *(zip(*found) if found else ((), ())))
    return Selected(run.records - run.superseded + live, run.kept + found)


def wanted_values(keys: Sequence[bytes], values: Sequence[bytes], work: Work) -> Sequence[bytes]:
    """Return `values` with `UNWANTED` in place of those that `work` does not want."""
    if isinstance(work, Fold):
        # It takes only what is live, which is not known yet.
        return values
    wanted: list[bytes] = [UNWANTED] * len(values)
    for index in work(keys, values):
        wanted[index] = values[index]
    return wanted


#: What a part of a run comes to: how many records, how many of keys that the log has, the first
#: key, the last one, the wanted records, and as arrays of numbers what an `Index` has.
_Piece = tuple[int, int, bytes, bytes, list[Record], bytes, bytes, bytes, bytes]


def read_run(
    descriptor: int,
    bounds: list[int],
    records: Records,
    work: Work,
    log: Changes,
    asked: Optional[Asked] = None,
    deleted: Optional[set[bytes]] = None,
) -> Run:
    """Return the wanted records of a run, in which `log` supersedes some.

    The run is cut at `bounds`; its index has what is `asked`, and of a fold nothing else. Raises
    `FastPathUnsupported`, also where keys are not in order, or one that `log` has is not among the
    `deleted`, if given.
    """
    jobs = [
        partial(_piece, descriptor, start, stop, records, work, log, asked, deleted)
        for start, stop in zip(bounds, bounds[1:])
    ]
    pieces = [piece for piece in parallel(jobs, processors()) if piece is not None]
    if len(pieces) < len(jobs):
        raise FastPathUnsupported
    counts, superseded, firsts, lasts, wanted, kept, starts, starting, _ = (
        zip(*pieces) if pieces else ((),) * 9
    )
    if not all(map(lt, lasts, firsts[1:])):
        raise FastPathUnsupported
    places = _joined_places(pieces, asked.keys) if asked else ()
    by_start = dict(zip(array("q", b"".join(starts)), _joined(counts, starting)))
    index = Index(_joined(counts, kept), by_start, places)
    return Run(sum(counts), list(chain(*wanted)), sum(superseded), index)


def _piece(
    descriptor: int,
    start: int,
    end: int,
    records: Records,
    work: Work,
    log: Changes,
    asked: Optional[Asked],
    deleted: Optional[set[bytes]],
) -> Optional[_Piece]:
    """Return the records from `start` to `end`, which are in order and have each key once."""
    kept = list[Record]()
    kept_at, starts, starting, places = (array("q") for _ in range(4))
    count = superseded = 0
    first = last = b""

    def take(batch: Batch) -> None:
        nonlocal count, superseded, first, last
        keys, values = batch.keys, batch.values
        if batch.deletions:
            raise FastPathUnsupported
        if not keys:
            return
        if (count and last >= keys[0]) or not all(map(lt, keys, keys[1:])):
            raise FastPathUnsupported
        if asked is not None:
            # What lies between two parts is not met here.
            low = bisect_right(asked.keys, last) if count else bisect_left(asked.keys, keys[0])
            high = bisect_right(asked.keys, keys[-1], low)
            places.extend(4 * count + _place(last, keys, key) for key in asked.keys[low:high])
            is_asked = list(map(asked.starts.__contains__, batch.starts))
            starts.extend(compress(batch.starts, is_asked))
            starting.extend(compress(range(count, count + len(keys)), is_asked))
        if isinstance(work, Fold):
            kept.extend(results(work, *_without(log, keys, values)))
        else:
            live = [at for at in work(keys, values) if keys[at] not in log]
            kept.extend((keys[at], values[at]) for at in live)
            kept_at.extend(map(count.__add__, live))
        if log:
            both = list(filter(log.__contains__, keys))
            if deleted is not None and not deleted.issuperset(both):
                raise FastPathUnsupported
            superseded += len(both)
        first, last = first if count else keys[0], keys[-1]
        count += len(keys)

    try:
        walk(descriptor, start, end, records, take, has_starts=asked is not None)
    except FastPathUnsupported:
        return None
    raw = kept_at.tobytes(), starts.tobytes(), starting.tobytes(), places.tobytes()
    return count, superseded, first, last, kept, *raw


def _without(
    log: Changes, keys: list[bytes], values: list[bytes]
) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Return the records of keys that the log does not have."""
    if log.keys().isdisjoint(keys):
        return keys, values
    live = [record for record in zip(keys, values) if record[0] not in log]
    return ([key for key, _ in live], [value for _, value in live])


def _place(before: bytes, keys: Sequence[bytes], key: bytes) -> int:
    """Return the place of `key` in sorted `keys`, of which one is not less."""
    at = bisect_left(keys, key)
    if keys[at] == key:
        return 4 * at + IS_THERE + IS_SURE
    return 4 * at + _is_sure(keys[at - 1] if at else before, key, keys[at])


def _is_sure(before: bytes, key: bytes, behind: Optional[bytes]) -> bool:
    """Return whether `key` is between two keys in mailbox order; none is below an empty one."""
    place = mailbox_order(key)
    return mailbox_order(before) < place and (behind is None or place < mailbox_order(behind))


def _joined_places(pieces: list[_Piece], keys: list[bytes]) -> Sequence[int]:
    """Return the places of all `keys`, those between two pieces too."""
    places, count, last = array("q"), 0, b""
    for records, _, first, end, *_, found in pieces:
        between = keys[len(places) : bisect_left(keys, first)]
        places.extend(4 * count + _is_sure(last, key, first) for key in between)
        places += _joined([4 * count, 0], [b"", found])
        count, last = count + records, end
    places.extend(4 * count + _is_sure(last, key, None) for key in keys[len(places) :])
    return places


def _joined(counts: Sequence[int], pieces: Sequence[bytes]) -> array[int]:
    """Return numbers that count from the start of their piece as if they were of one."""
    found, before = array("q"), 0
    for count, piece in zip(counts, pieces):
        found.extend(map(before.__add__, array("q", piece)))
        before += count
    return found


def walk(
    descriptor: int,
    start: int,
    end: int,
    records: Records,
    take: Take,
    *,
    has_starts: bool = False,
) -> None:
    """Hand the records between two of their boundaries to `take`, some thousand at a time."""
    tries, size = 0, _PIECE
    batch = Batch(has_starts)
    while start < end:
        data = read(descriptor, start, min(end, start + size))
        length = records(data, start, batch, 0)
        start += length
        if start >= end or len(batch.keys) + len(batch.deletions) >= BATCH:
            take(batch)
            batch = Batch(has_starts)
        if length:
            tries, size = 0, _PIECE
            continue
        # A record that does not fit in, or one whose head is being rewritten just now.
        tries, size = tries + 1, min(4 * size, _LARGEST_RECORD)
        if tries > _TRIES:
            raise FastPathUnsupported
        time.sleep(database.PAUSE)


def read(descriptor: int, start: int, end: int) -> bytes:
    """Return the bytes from `start` to `end`; raises `FastPathUnsupported` where the file ends."""
    data = os.pread(descriptor, end - start, start)
    if len(data) < end - start:
        raise FastPathUnsupported
    return data


def key_at(descriptor: int, at: int, records: Records) -> bytes:
    """Return the key of the record at `at`; raises `FastPathUnsupported` where none starts."""
    if at > sys.maxsize:
        # No file is so large, and `pread` takes no such offset.
        raise FastPathUnsupported
    batch = Batch()
    for size in (_USUAL, PROBE):
        records(os.pread(descriptor, size, at), at, batch, 1)
        if batch.keys:
            return batch.keys[0]
    raise FastPathUnsupported


def lengths(texts: Iterable[bytes]) -> Optional[bytes]:
    """Return the length of each text as a byte, None where one is too long for that."""
    try:
        return bytes(map(len, texts))
    except ValueError:
        return None


def boundaries(start: int, end: int, first_record: Callable[[int], int]) -> list[int]:
    """Return where to cut the run: its start, starts of records, and its end.

    `first_record` gives the first offset from one on where a record may start. What reads the
    records before it has to end up just there, so a coincidence does no harm.
    """
    count = SHARES * processors() if end - start > _WORTH_SHARING else 1
    cuts = [first_record(start + (end - start) * index // count) for index in range(1, count)]
    bounds = [start, *(at for at in cuts if at < end), end]
    return bounds if bounds == sorted(set(bounds)) else [start, end]
