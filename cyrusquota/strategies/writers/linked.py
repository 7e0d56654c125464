"""What the writers of twoskip and twom have in common: records linked in key order, in one file.

Each record has two alternatives for the next one at the lowest level, of which a writer replaces
the older, and one pointer for each level above it. A transaction appends records, rewrites the
pointers of old ones and only then moves the header's current size past them. These writers
keep the whole file in memory and know nothing of the readers.
"""

from __future__ import annotations

import abc
import os
import random
from pathlib import Path
from typing import Iterator, Optional

import attrs

from cyrusquota.cyrusdb.twoskip import layout

#: The same in both formats.
MAX_LEVEL = layout.MAX_LEVEL


@attrs.define
class Entry:
    """A key, the offset and level of its record, and the offset of what deleted it, or 0."""

    order: bytes
    key: bytes
    offset: int
    level: int
    deleted: int = 0


class LinkedWriter(abc.ABC):
    """A database in one file; `begin`, `set` and `delete`, then `commit` or `abort`."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.path = path
        self._random = random.Random(seed)
        self.generation = 1
        self._new()
        self._write()

    # The file

    @abc.abstractmethod
    def _header(self, dirty: bool) -> bytes:
        """The header as it stands."""

    @abc.abstractmethod
    def _empty(self) -> bytes:
        """A header and the record that all chains start from."""

    def _new(self) -> None:
        self.num_records = self.commits = self.dirty_size = 0
        self.highest = 0
        self.current_size = self.repack_size = 0
        self.image = bytearray(self._empty())
        self.current_size = self.repack_size = len(self.image)
        self._entries: list[Entry] = []
        self._put_header(dirty=False)
        self._remember()

    def _put_header(self, dirty: bool) -> None:
        header = self._header(dirty)
        self.image[: len(header)] = header

    def _write(self) -> None:
        """In place, as Cyrus does: the file stays the same one until a repack."""
        flags = os.O_RDWR | os.O_CREAT
        with os.fdopen(os.open(self.path, flags, 0o600), "r+b") as file:
            file.write(self.image)
            file.truncate()

    # Transactions

    def _remember(self) -> None:
        numbers = (self.num_records, self.dirty_size, self.highest)
        self._kept = bytes(self.image), [attrs.evolve(entry) for entry in self._entries], numbers

    def begin(self) -> None:
        """Start a transaction, after taking back what an aborted one left behind."""
        image, entries, numbers = self._kept
        self.image = bytearray(image)
        self._entries = [attrs.evolve(entry) for entry in entries]
        self.num_records, self.dirty_size, self.highest = numbers

    def commit(self) -> None:
        """Make the transaction count."""
        if len(self.image) > self.current_size:
            self._append_commit(self.current_size)
            self.commits += 1
            self.current_size = len(self.image)
            self._put_header(dirty=False)
        self._remember()
        self._write()

    def abort(self) -> None:
        """Leave the file as a writer does that was killed just before its commit."""
        self._show()

    def _show(self) -> None:
        """Put on the disk what a transaction under way has there, behind the old header."""
        numbers = self.num_records, self.dirty_size, self.highest
        _, _, (self.num_records, self.dirty_size, self.highest) = self._kept
        self._put_header(dirty=True)
        self._write()
        self.num_records, self.dirty_size, self.highest = numbers

    def repack(self) -> None:
        """Write the live records to a new file and rename it over the old one."""
        self.begin()
        live = list(self._contents())
        # Not a byte of the old file changes.
        path, self.path = self.path, self.path.with_name(self.path.name + ".NEW")
        self.generation += 1
        self._new()
        self.begin()
        for key, value in live:
            self.set(key, value)
        self.commit()
        self.repack_size = self.current_size
        self.dirty_size = 0
        self._put_header(dirty=False)
        self._remember()
        self._write()
        os.replace(self.path, path)
        self.path = path

    def _contents(self) -> Iterator[tuple[bytes, bytes]]:
        for entry in self._entries:
            if not entry.deleted:
                yield entry.key, self._value(entry.offset)

    # Records

    @abc.abstractmethod
    def set(self, key: bytes, value: bytes) -> None:
        """Store a value; one that is there already is not written again."""

    @abc.abstractmethod
    def delete(self, key: bytes) -> None:
        """Remove a key, if it is there."""

    @abc.abstractmethod
    def _append_commit(self, start: int) -> None:
        """The record that ends the transaction that began at `start`."""

    @abc.abstractmethod
    def _value(self, offset: int) -> bytes:
        """The value of the record at `offset`."""

    @abc.abstractmethod
    def _pointers(self, offset: int) -> int:
        """Where the pointers of the record at `offset` start."""

    @abc.abstractmethod
    def _sign_head(self, offset: int) -> None:
        """Renew the checksum over the head of the record at `offset`."""

    @abc.abstractmethod
    def _long(self, at: int) -> int:
        """The eight bytes at `at` as a number."""

    @abc.abstractmethod
    def _put_long(self, at: int, number: int) -> None:
        """Write a number as the eight bytes at `at`."""

    @abc.abstractmethod
    def _replaced(self, first: int, second: int) -> int:
        """Which of two alternatives a writer may replace: 0 or 1."""

    def _order(self, key: bytes) -> bytes:
        return key

    def _random_level(self) -> int:
        level = 1
        while level < MAX_LEVEL and self._random.random() < 0.5:
            level += 1
        return level

    def _place(self, key: bytes) -> tuple[int, Optional[Entry]]:
        """Where `key` is among the entries or would be, and its entry."""
        order = (self._order(key), key)
        for index, entry in enumerate(self._entries):
            if (entry.order, entry.key) >= order:
                return index, entry if entry.key == key else None
        return len(self._entries), None

    def _before(self, index: int, dummy: int) -> list[int]:
        """For each list, the offset of the record that comes before the entry at `index`."""
        found: list[int] = []
        for entry in reversed(self._entries[:index]):
            found.extend([entry.offset] * (entry.level - len(found)))
        return found + [dummy] * (MAX_LEVEL - len(found))

    def _next(self, offset: int, index: int) -> int:
        """What follows the record at `offset` in the list `index`, for the writer."""
        at = self._pointers(offset)
        if index:
            return self._long(at + 8 * (index + 1))
        first, second, end = self._long(at), self._long(at + 8), len(self.image)
        if first >= end:
            return second
        return first if second >= end else max(first, second)

    def _link(self, offset: int, index: int, target: int) -> None:
        """Let the record at `offset` lead to `target` in the list `index`."""
        at = self._pointers(offset)
        if index:
            self._put_long(at + 8 * (index + 1), target)
        else:
            self._put_long(at + 8 * self._replaced(self._long(at), self._long(at + 8)), target)
        self._sign_head(offset)
