"""Lines in the order of their keys, of which a few change at a time."""

from __future__ import annotations

import bisect
from itertools import chain
from typing import Iterator

#: Lines that are kept in one list, on average: few enough to insert one, and few lists.
_SIZE = 500


class SortedLines:
    """Lines by key. Sorting a hundred thousand again for each map would take too long."""

    def __init__(self) -> None:
        #: Each list of keys is sorted, and so are the lists; `_lines` has the line of each key.
        self._keys: list[list[bytes]] = []
        self._lines: list[list[bytes]] = []
        #: The last key of each list.
        self._last: list[bytes] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """Return the keys in their order."""
        return chain.from_iterable(self._keys)

    def put(self, key: bytes, line: bytes) -> None:
        """Add the line of a key, or replace it."""
        if not self._keys:
            self._keys, self._lines, self._last = [[]], [[]], [key]
        number = min(bisect.bisect_left(self._last, key), len(self._last) - 1)
        keys, lines = self._keys[number], self._lines[number]
        at = bisect.bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            lines[at] = line
            return
        keys.insert(at, key)
        lines.insert(at, line)
        self._count += 1
        self._last[number] = keys[-1]
        if len(keys) >= 2 * _SIZE:
            self._split(number)

    def drop(self, key: bytes) -> None:
        """Remove the line of a key. Raises KeyError where there is none."""
        number = bisect.bisect_left(self._last, key)
        keys = self._keys[number] if number < len(self._keys) else []
        at = bisect.bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            raise KeyError(key)
        del keys[at], self._lines[number][at]
        self._count -= 1
        if keys:
            self._last[number] = keys[-1]
        else:
            del self._keys[number], self._lines[number], self._last[number]

    def lines(self) -> Iterator[bytes]:
        """Return all lines in the order of their keys."""
        return chain.from_iterable(self._lines)

    def joined(self) -> bytes:
        """Return them joined."""
        return b"".join(self.lines())

    def _split(self, number: int) -> None:
        keys, lines = self._keys[number], self._lines[number]
        self._keys[number : number + 1] = keys[:_SIZE], keys[_SIZE:]
        self._lines[number : number + 1] = lines[:_SIZE], lines[_SIZE:]
        self._last.insert(number, keys[_SIZE - 1])
