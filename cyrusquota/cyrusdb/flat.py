"""flat: a text file, one KEY TAB VALUE a line (lib/cyrusdb_flat.c).

Every change writes a new file and renames it over the old one, so what one open file gives is
always one whole state, without a lock. Cyrus finds its keys by bisection; here the order of the
lines does not matter, but a key that has two lines is a problem and left out, because which one
Cyrus would find is chance.

There are no checksums: a line counts if it has a key, a TAB and its line break, and no NUL, which
no version can have written there. A file that breaks off has lost an unknown number of keys; that
shows only in the line where it broke off. A file of which no line counts, or thousands do not and
they are the most, is no flat database.
"""

from __future__ import annotations

import io
import os
import re
from functools import partial
from itertools import repeat
from operator import lt
from typing import Iterator, Optional

from cyrusquota.cyrus.repairs import REMOVE_LINE
from cyrusquota.cyrusdb.database import (
    MAILBOX_ORDER,
    Database,
    Snapshot,
    contents,
    descriptor_of,
    differs,
)
from cyrusquota.cyrusdb.parallel import SHARES, parallel, processors
from cyrusquota.cyrusdb.selection import (
    FastPathUnsupported,
    Record,
    Selected,
    Work,
    columns,
    results,
)
from cyrusquota.errors import AnyPath, DamagedDatabase, OnProblem, Place

# The layout (lib/cyrusdb_flat.c).
_TAB, _LINE_BREAK, _NUL = b"\t", b"\n", b"\0"
_ESCAPE = b"\xff"
#: NUL, TAB, LF and CR with the high bit set, and the escape itself, since 2.5. Any other byte
#: behind a 0xFF was written by an older version, which escaped nothing.
_ESCAPED = re.compile(rb"\xff([\x80\x89\x8a\x8d\xff])")
_HIGH_BIT = 0x80

#: Bad lines that a file may have, however few good ones it has.
_MANY = 1000


class Flat(Database):
    """A flat file as it was when it was opened."""

    backend = "flat"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        data, self._identity = contents(path)
        self._size = len(data)
        self._problems: list[DamagedDatabase] = []
        self._records = self._parsed(data)
        if self._problems and not self._records:
            raise self._problems[0]
        for problem in self._problems:
            on_problem(problem)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._records.items())

    def snapshot(self) -> Snapshot:
        return Snapshot(self.backend, self._size, len(self._records))

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _parsed(self, data: bytes) -> dict[bytes, bytes]:
        records: dict[bytes, bytes] = {}
        twice: dict[bytes, int] = {}
        for number, line in enumerate(io.BytesIO(data), 1):
            if not line.endswith(_LINE_BREAK):
                self._damaged(number, "a line break at the end of the last line", line)
                break
            key, tab, value = line[:-1].partition(_TAB)
            if not key or not tab or _NUL in line:
                self._damaged(number, "KEY TAB VALUE", line[:-1])
                if len(self._problems) > max(_MANY, len(records)):
                    return {}
                continue
            if _ESCAPE in line:
                key, value = unescaped(key), unescaped(value)
            if key in records:
                twice[key] = number
            records[key] = value
        for key, number in twice.items():
            self._damaged(number, "one line for a key", key)
            del records[key]
        return records

    def _damaged(self, line: int, expected: str, found: bytes) -> None:
        place = Place(str(self.path), line=line)
        problem = DamagedDatabase(expected, place=place, found=found, advice=REMOVE_LINE)
        self._problems.append(problem)


def unescaped(text: bytes) -> bytes:
    """Return the key or the value that a file since 2.5 has as `text`."""
    return _ESCAPED.sub(_plain, text) if _ESCAPE in text else text


def _plain(match: re.Match[bytes]) -> bytes:
    return _ESCAPE if match[1] == _ESCAPE else bytes((match[1][0] ^ _HIGH_BIT,))


# The fast path: many lines at once, a share of the file for each processor

_PIECE = 1 << 18

#: How many lines, the first key and the last one in their order, and the wanted records.
_Share = tuple[int, bytes, bytes, list[Record]]


def select(path: AnyPath, work: Work) -> Optional[Selected]:
    """Return what `work` wants or makes of the file at `path`, or None where `Flat` has to decide.

    That is where a key is not greater than the one before it, is escaped, or a line is no record.
    """
    try:
        descriptor = descriptor_of(path)
    except (OSError, ValueError):
        return None
    try:
        bounds = _bounds(descriptor, os.fstat(descriptor).st_size)
        jobs = [
            partial(_part_of_file, descriptor, start, end, work)
            for start, end in zip(bounds, bounds[1:])
        ]
        shares = [share for share in parallel(jobs, processors()) if share is not None]
    except (OSError, FastPathUnsupported):
        return None
    finally:
        os.close(descriptor)
    in_order = all(one[2] < other[1] for one, other in zip(shares, shares[1:]))
    if len(shares) < len(jobs) or not in_order:
        return None
    kept = [record for share in shares for record in share[3]]
    return Selected(sum(share[0] for share in shares), kept)


def _bounds(descriptor: int, size: int) -> list[int]:
    """Return where to cut the file: the starts of lines, and its end."""
    if size < _PIECE:
        raise FastPathUnsupported
    count = SHARES * processors()
    bounds = [0]
    for index in range(1, count):
        at = size * index // count
        line_break = os.pread(descriptor, _PIECE, at).find(_LINE_BREAK)
        if line_break < 0:
            raise FastPathUnsupported
        bounds.append(at + line_break + 1)
    return [*bounds, size]


def _part_of_file(descriptor: int, start: int, end: int, work: Work) -> Optional[_Share]:
    records, kept = 0, list[Record]()
    first = last = b""
    while start < end:
        data = os.pread(descriptor, min(_PIECE, end - start), start)
        data = data[: data.rfind(_LINE_BREAK) + 1]
        found = columns(data)
        # No line break, a bad line, a NUL or anything escaped.
        if not data or found is None or _NUL in data or _ESCAPE in data:
            return None
        keys, values = found
        order = list(map(bytes.translate, keys, repeat(MAILBOX_ORDER)))
        if order[0] <= last or not all(map(lt, order, order[1:])):
            return None
        first, last = first or order[0], order[-1]
        records += len(keys)
        kept += results(work, keys, values)
        start += len(data)
    return records, first, last, kept
