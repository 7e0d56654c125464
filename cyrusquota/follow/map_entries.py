"""Keep the entries of a map while users come and go."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, Optional, Protocol

import attrs

from cyrusquota.cyrus.names import Recipient
from cyrusquota.maps import Entry, Row
from cyrusquota.maps.status import OVER, Status

#: Returns the entries that give a recipient a status: one, or none for exempt recipients.
Entries = Callable[[Recipient, Status], Iterable[Entry]]


class Listing(Protocol):
    """Something that is told which users are listed."""

    def put(self, name: str, to: Recipient, status: Status) -> None:
        """List the user `name`, who is reached as `to`."""

    def drop(self, name: str) -> None:
        """Remove the user `name`."""


@attrs.frozen
class _Listed:
    entry: Entry
    row: Row


class MapEntries:
    """The entries of a map, by the names of the users.

    Users with the same key share an entry while they have the same value; otherwise none of them
    has an entry, as in `maps.entries`. `row` is that of the format. `also` is told of the
    same users.
    """

    def __init__(
        self,
        entries: Entries,
        row: Callable[[Entry], Optional[Row]],
        also: Optional[Listing] = None,
    ) -> None:
        self._entries = entries
        self._row = row
        self.also = also
        self._keys_of: dict[str, tuple[tuple[bytes, ...], bool]] = {}
        #: The values for a key, by user.
        self._values: dict[bytes, dict[str, bytes]] = {}
        self._listed: dict[bytes, _Listed] = {}
        self._sorted: Optional[list[bytes]] = []
        self.near = 0
        #: Goes up with every change of `body`.
        self.version = 0

    def __len__(self) -> int:
        return len(self._listed)

    def put(self, name: str, to: Recipient, status: Status) -> None:
        """List the user `name` under the key of `to`."""
        if self.also is not None:
            self.also.put(name, to, status)
        entries, over = tuple(self._entries(to, status)), status == OVER
        keys = tuple(entry.key for entry in entries)
        before, was_over = self._keys_of.get(name, ((), True))
        if before != keys:
            self._drop(name)
            was_over = True
        self._keys_of[name] = keys, over
        self.near += was_over - over
        for entry in entries:
            self._values.setdefault(entry.key, {})[name] = entry.value
            self._renew(entry.key)

    def drop(self, name: str) -> None:
        """Remove the user `name`."""
        if self.also is not None:
            self.also.drop(name)
        self._drop(name)

    def _drop(self, name: str) -> None:
        keys, over = self._keys_of.pop(name, ((), True))
        self.near -= not over
        for key in keys:
            del self._values[key][name]
            self._renew(key)

    def _renew(self, key: bytes) -> None:
        """Update the entry of `key` from the values of its users."""
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
        """Return the entries in the order of the keys."""
        return [listed.entry for listed in self._in_order()]

    def keys(self) -> frozenset[bytes]:
        """Return the keys as the map writes them."""
        return frozenset([listed.row.key for listed in self._listed.values()])

    def body(self) -> bytes:
        """Return the lines of the map in the order of the keys, as `Format.body` does."""
        return b"".join([listed.row.line for listed in self._in_order()])
