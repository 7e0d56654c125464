"""The entries of a map, kept in order while users come and go."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus.names import Recipient
from cyrusquota.maps import Entry, Row

#: The entries that give a recipient a value: one, or none for somebody who is never listed.
Entries = Callable[[Recipient, bytes], Iterable[Entry]]


@attrs.frozen
class _Listed:
    entry: Entry
    row: Row


class MapEntries:
    """What a map says, by the name of the user whom it is about.

    Users whose mail goes by one key share an entry as long as the same is to be said of all of
    them; otherwise none of them has one, as in `maps.entries`. `row` is what the format makes of
    an entry.
    """

    def __init__(self, entries: Entries, row: Callable[[Entry], Optional[Row]]) -> None:
        self._entries = entries
        self._row = row
        self._keys_of: dict[str, tuple[tuple[bytes, ...], bool]] = {}
        #: What is to be said under a key, by the user.
        self._values: dict[bytes, dict[str, bytes]] = {}
        self._listed: dict[bytes, _Listed] = {}
        self._sorted: Optional[list[bytes]] = []
        self.near = 0
        #: Goes up with every change of what `body` gives.
        self.version = 0

    def __len__(self) -> int:
        return len(self._listed)

    def put(self, name: str, to: Recipient, value: bytes, *, over: bool) -> None:
        """Say `value` of the user `name`, under what `to` is called; not `over` is only near."""
        entries = tuple(self._entries(to, value))
        keys = tuple(entry.key for entry in entries)
        before, was_over = self._keys_of.get(name, ((), True))
        if before != keys:
            self.drop(name)
            was_over = True
        self._keys_of[name] = keys, over
        self.near += was_over - over
        for entry in entries:
            self._values.setdefault(entry.key, {})[name] = entry.value
            self._renew(entry.key)

    def drop(self, name: str) -> None:
        """Do not list the user `name` any more."""
        keys, over = self._keys_of.pop(name, ((), True))
        self.near -= not over
        for key in keys:
            del self._values[key][name]
            self._renew(key)

    def _renew(self, key: bytes) -> None:
        """Let what is listed under `key` be what is to be said there."""
        values = set(self._values[key].values())
        if not values:
            del self._values[key]
        entry = Entry(key, *values) if len(values) == 1 else None
        before = self._listed.get(key)
        if (None if before is None else before.entry) == entry:
            return
        row = None if entry is None else self._row(entry)
        if entry is not None and row is not None:
            self._listed[key] = _Listed(entry, row)
        elif before is None:
            return
        else:
            del self._listed[key]
        if before is None or row is None:
            self._sorted = None
        self.version += 1

    def _in_order(self) -> Iterator[_Listed]:
        if self._sorted is None:
            self._sorted = sorted(self._listed)
        return map(self._listed.__getitem__, self._sorted)

    def entries(self) -> list[Entry]:
        """What the map has, in the order of the keys."""
        return [listed.entry for listed in self._in_order()]

    def keys(self) -> frozenset[bytes]:
        """What the map is keyed by, as it is written there."""
        return frozenset([listed.row.key for listed in self._listed.values()])

    def body(self) -> bytes:
        """What counts in the map, as the format gives it: all lines, in the order of the keys."""
        return b"".join([listed.row.line for listed in self._in_order()])
