"""Writes twoskip files as Cyrus does (cyrusdb_twoskip.c)."""

from __future__ import annotations

import struct
from pathlib import Path
from zlib import crc32

from cyrusquota.cyrusdb.database import MAILBOX_ORDER
from cyrusquota.cyrusdb.twoskip import layout

from .linked import Entry, LinkedWriter


class TwoskipWriter(LinkedWriter):
    """A twoskip file.

    `fillers` keeps heads from crossing a disk block, as Cyrus does since 3.2; `mailbox_order` is
    the order of improved_mboxlist_sort.
    """

    def __init__(
        self, path: Path, seed: int = 0, *, fillers: bool = False, mailbox_order: bool = False
    ) -> None:
        self._fillers = fillers
        self._mailbox_order = mailbox_order
        super().__init__(path, seed)

    def set(self, key: bytes, value: bytes) -> None:
        index, old = self._place(key)
        if old is not None and self._value(old.offset) == value:
            return
        before = self._before(index, layout.DUMMY_AT)
        following = [self._next(offset, i) for i, offset in enumerate(before)]
        if old is not None:
            following[: old.level] = [self._next(old.offset, i) for i in range(old.level)]
        level = self._random_level()
        offset = self._append(layout.RECORD, [0, *following[:level]], key, value)
        following[:level] = [offset] * level
        for i in range(max(level, old.level if old is not None else 0)):
            self._link(before[i], i, following[i])
        entry = Entry(self._order(key), key, offset, level)
        self._entries[index : index + (old is not None)] = [entry]
        self.num_records += old is None
        self._show()

    def delete(self, key: bytes) -> None:
        index, old = self._place(key)
        if old is None:
            return
        before = self._before(index, layout.DUMMY_AT)
        following = [self._next(old.offset, i) for i in range(old.level)]
        # Not to a deletion that stands between the two, but to the record behind it.
        last = index + 1 == len(self._entries)
        target = 0 if last else self._entries[index + 1].offset
        following[0] = self._append(layout.DELETE, [target])
        for i in range(old.level):
            self._link(before[i], i, following[i])
        del self._entries[index]
        self.num_records -= 1
        self._show()

    def _header(self, dirty: bool) -> bytes:
        # Cyrus counts a replaced or deleted record off before it marks the header.
        records = self.num_records - (dirty and self.num_records > 0)
        flags = layout.DIRTY if dirty else 0
        header = layout.Header(
            *(layout.MAGIC, layout.VERSION, self.generation, records),
            *(self.repack_size, self.current_size, flags, 0),
        )
        crc = crc32(layout.HEADER.pack(*header)[: layout.CRC_AT])
        return layout.HEADER.pack(*header._replace(crc=crc))

    def _empty(self) -> bytes:
        return bytes(layout.HEADER.size) + _record(layout.DUMMY, [0] * (layout.MAX_LEVEL + 1))

    def _append_commit(self, start: int) -> None:
        self._append(layout.COMMIT, [start])

    def _append(self, kind: int, pointers: list[int], key: bytes = b"", value: bytes = b"") -> int:
        record = _record(kind, pointers, key, value)
        head = len(record) - len(_tail_bytes(key, value))
        fits = head <= layout.BLOCK - layout.ALIGN
        while self._fillers and fits and _crosses(len(self.image), head):
            self.image += layout.BLANK
        self.image += record
        return len(self.image) - len(record)

    def _lengths(self, offset: int) -> tuple[int, int]:
        """The key length of the record at `offset`, and where its pointers start."""
        _, _, key, value = layout.START.unpack_from(self.image, offset)
        at = offset + layout.START.size
        if key == layout.LONG_KEY:
            key, at = self._long(at), at + layout.LONG.size
        return key, at + layout.LONG.size * (value == layout.LONG_VALUE)

    def _pointers(self, offset: int) -> int:
        return self._lengths(offset)[1]

    def _value(self, offset: int) -> bytes:
        key, pointers = self._lengths(offset)
        _, level, _, length = layout.START.unpack_from(self.image, offset)
        at = pointers + layout.LONG.size * (level + 1) + layout.CRCS.size + key
        return bytes(self.image[at : at + length])

    def _sign_head(self, offset: int) -> None:
        end = self._pointers(offset) + layout.LONG.size * (self.image[offset + 1] + 1)
        struct.pack_into(">I", self.image, end, crc32(self.image[offset:end]))

    def _long(self, at: int) -> int:
        found: int = layout.LONG.unpack_from(self.image, at)[0]
        return found

    def _put_long(self, at: int, number: int) -> None:
        layout.LONG.pack_into(self.image, at, number)

    def _replaced(self, first: int, second: int) -> int:
        if first >= self.current_size:
            return 0
        if second >= self.current_size:
            return 1
        return 0 if second > first else 1

    def _order(self, key: bytes) -> bytes:
        return key.translate(MAILBOX_ORDER) if self._mailbox_order else key


def _tail_bytes(key: bytes, value: bytes) -> bytes:
    return key + value + bytes(-(len(key) + len(value)) % layout.ALIGN)


def _record(kind: int, pointers: list[int], key: bytes = b"", value: bytes = b"") -> bytes:
    tail, long_key = _tail_bytes(key, value), len(key) >= layout.LONG_KEY
    length = layout.LONG_KEY if long_key else len(key)
    head = layout.START.pack(kind, len(pointers) - 1, length, len(value))
    if long_key:
        head += layout.LONG.pack(len(key))
    head += struct.pack(f">{len(pointers)}Q", *pointers)
    return head + layout.CRCS.pack(crc32(head), crc32(tail)) + tail


def _crosses(at: int, head: int) -> bool:
    """Whether what a rewrite may change of a head at `at` would lie in two blocks."""
    return (at + layout.START.size) % layout.BLOCK > (at - layout.CRCS.size + head) % layout.BLOCK
