"""Select from a sorted run of records, and a log behind it of what changed since.

That is how a checkpoint or a repack leaves a file of skiplist, twoskip or twom. So what has to be
known of every record at once is only the log: a record of the run is live unless the log has its
key. The run is cut into pieces for all processors and read a little at a time. How a record looks,
and what the log makes of them, is for the module of each format to say.
"""

from __future__ import annotations

import os
import time
from functools import partial
from itertools import chain
from operator import lt
from typing import Callable, Optional

from cyrusquota.cyrusdb import database
from cyrusquota.cyrusdb.parallel import SHARES, parallel, processors
from cyrusquota.cyrusdb.selection import BATCH, FastPathUnsupported, Predicate, Record, Selected
from cyrusquota.errors import AnyPath

#: What the log stores, by key; None where it deletes.
Changes = dict[bytes, Optional[bytes]]
#: How many records come before a deletion, and the number by which it says what it deletes.
Deletion = tuple[int, int]
#: Adds the keys, values and deletions in some bytes, at most so many if not 0, and gives where the
#: first record starts that is not whole or right. Raises `FastPathUnsupported` where something else
#: stands.
Records = Callable[[bytes, list[bytes], list[bytes], list[Deletion], int], int]
Take = Callable[[list[bytes], list[bytes], list[Deletion]], None]
#: What a part of the run comes to: how many records, those keys of it that the log has, the first
#: key, the last one, and the records that are wanted.
_Piece = tuple[int, list[bytes], bytes, bytes, list[Record]]

_PIECE = 1 << 17
#: Where a record is looked for; one that is not found in so much counts as none.
PROBE = 1 << 16
#: Below this the plain reader is as quick.
WORTH_IT = 1 << 16
#: Below this another process costs more than it does.
_WORTH_SHARING = 1 << 20
_LARGEST_RECORD = 1 << 24
_TRIES = 20


def select(path: AnyPath, selected: Callable[[int], Selected]) -> Optional[Selected]:
    """Return what `selected` makes of the open file, or None where the plain reader decides."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
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


def selected_run(
    descriptor: int, bounds: list[int], records: Records, predicate: Predicate, changes: Changes
) -> tuple[Selected, list[bytes]]:
    """Return what is live and wanted of a run and its log, and the keys that both have.

    The run is cut at `bounds`. Raises `FastPathUnsupported`.
    """
    jobs = [
        partial(_piece, descriptor, start, stop, records, predicate, changes)
        for start, stop in zip(bounds, bounds[1:])
    ]
    pieces = [piece for piece in parallel(jobs, processors()) if piece is not None]
    if len(pieces) < len(jobs):
        raise FastPathUnsupported
    counts, superseded, firsts, lasts, wanted = zip(*pieces) if pieces else ((),) * 5
    if not all(map(lt, lasts, firsts[1:])):
        raise FastPathUnsupported
    live = [(key, value) for key, value in changes.items() if value is not None]
    kept = [live[index] for index in predicate(*(zip(*live) if live else ((), ())))]
    in_both = list(chain(*superseded))
    found = len(live) + sum(counts) - len(in_both)
    return Selected(found, list(chain(*wanted, kept))), in_both


def _piece(
    descriptor: int, start: int, end: int, records: Records, predicate: Predicate, log: Changes
) -> Optional[_Piece]:
    """Return the records from `start` to `end`, which are in order and have each key once."""
    kept, superseded = list[Record](), list[bytes]()
    count = 0
    first = last = b""

    def take(keys: list[bytes], values: list[bytes], deletions: list[Deletion]) -> None:
        nonlocal count, first, last
        if not keys and not deletions:
            return
        in_order = not count or last < keys[0]
        if deletions or not in_order or not all(map(lt, keys, keys[1:])):
            raise FastPathUnsupported
        first, last = first if count else keys[0], keys[-1]
        count += len(keys)
        if log:
            superseded.extend(filter(log.__contains__, keys))
        kept.extend((keys[at], values[at]) for at in predicate(keys, values) if keys[at] not in log)

    try:
        walk(descriptor, start, end, records, take)
    except FastPathUnsupported:
        return None
    return count, superseded, first, last, kept


def walk(descriptor: int, start: int, end: int, records: Records, take: Take) -> None:
    """Hand the records between two of their boundaries to `take`, some thousand at a time."""
    tries, size = 0, _PIECE
    keys, values, deletions = list[bytes](), list[bytes](), list[Deletion]()
    while start < end:
        data = read(descriptor, start, min(end, start + size))
        length = records(data, keys, values, deletions, 0)
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
    keys = list[bytes]()
    records(os.pread(descriptor, PROBE, at), keys, [], [], 1)
    if not keys:
        raise FastPathUnsupported
    return keys[0]


def boundaries(start: int, end: int, first_record: Callable[[int], int]) -> list[int]:
    """Return where to cut the run: its start, starts of records, and its end.

    `first_record` gives the first offset from one on where a record may start. What reads the
    records before it has to end up just there, so a coincidence does no harm.
    """
    count = SHARES * processors() if end - start > _WORTH_SHARING else 1
    cuts = [first_record(start + (end - start) * index // count) for index in range(1, count)]
    bounds = [start, *(at for at in cuts if at < end), end]
    return bounds if bounds == sorted(set(bounds)) else [start, end]
