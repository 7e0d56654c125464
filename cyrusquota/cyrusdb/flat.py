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
import re
from typing import Iterator

from cyrusquota.cyrusdb._database import Database, Snapshot
from cyrusquota.cyrusdb._file import contents, differs
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
_RESTORE = "restore the file from a backup, or let Cyrus write the key anew with SETQUOTA"


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
                key, value = _ESCAPED.sub(_plain, key), _ESCAPED.sub(_plain, value)
            if key in records:
                twice[key] = number
            records[key] = value
        for key, number in twice.items():
            self._damaged(number, "one line for a key", key)
            del records[key]
        return records

    def _damaged(self, line: int, expected: str, found: bytes) -> None:
        place = Place(str(self.path), line=line)
        problem = DamagedDatabase(expected, place=place, found=found, advice=_RESTORE)
        self._problems.append(problem)


def _plain(match: re.Match[bytes]) -> bytes:
    return _ESCAPE if match[1] == _ESCAPE else bytes((match[1][0] ^ _HIGH_BIT,))
