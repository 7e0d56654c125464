"""Writes twoskip files as Cyrus does (cyrusdb_twoskip.c)."""

from __future__ import annotations

import struct
from pathlib import Path
from zlib import crc32

from .linked import MAX_LEVEL, Entry, LinkedWriter

_MAGIC = b"\xa1\x02\x8b\rtwoskip file" + bytes(4)
_HEADER_SIZE = 64
_DUMMY = _HEADER_SIZE
_BLOCK = 512
#: Tabs, line breaks and dots come before everything else, with improved_mboxlist_sort.
_FIRST = bytes({9: 1, 10: 1, 13: 1, 46: 2}.get(byte, byte) for byte in range(256))


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
        before = self._before(index, _DUMMY)
        following = [self._next(offset, i) for i, offset in enumerate(before)]
        if old is not None:
            following[: old.level] = [self._next(old.offset, i) for i in range(old.level)]
        level = self._random_level()
        offset = self._append(b"+", [0, *following[:level]], key, value)
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
        before = self._before(index, _DUMMY)
        following = [self._next(old.offset, i) for i in range(old.level)]
        # Not to a deletion that stands between the two, but to the record behind it.
        last = index + 1 == len(self._entries)
        target = 0 if last else self._entries[index + 1].offset
        following[0] = self._append(b"-", [target])
        for i in range(old.level):
            self._link(before[i], i, following[i])
        del self._entries[index]
        self.num_records -= 1
        self._show()

    def _header(self, dirty: bool) -> bytes:
        # Cyrus counts a replaced or deleted record off before it marks the header.
        records = self.num_records - (dirty and self.num_records > 0)
        fields = struct.pack(
            ">20sIQQQQI",
            *(_MAGIC, 1, self.generation, records),
            *(self.repack_size, self.current_size, dirty),
        )
        return fields + struct.pack(">I", crc32(fields))

    def _empty(self) -> bytes:
        return bytes(_HEADER_SIZE) + _record(b"=", [0] * (MAX_LEVEL + 1))

    def _append_commit(self, start: int) -> None:
        self._append(b"$", [start])

    def _append(
        self, kind: bytes, pointers: list[int], key: bytes = b"", value: bytes = b""
    ) -> int:
        record = _record(kind, pointers, key, value)
        head = len(record) - len(_tail(key, value))
        while self._fillers and head <= _BLOCK - 8 and _crosses(len(self.image), head):
            self.image += b" BLANK\x07\xa0"
        self.image += record
        return len(self.image) - len(record)

    def _lengths(self, offset: int) -> tuple[int, int]:
        """The key length of the record at `offset`, and where its pointers start."""
        _, _, key, value = struct.unpack_from(">BBHI", self.image, offset)
        at = offset + 8
        if key == 0xFFFF:
            key, at = self._long(at), at + 8
        return key, at + 8 * (value == 0xFFFFFFFF)

    def _pointers(self, offset: int) -> int:
        return self._lengths(offset)[1]

    def _value(self, offset: int) -> bytes:
        key, pointers = self._lengths(offset)
        level, length = self.image[offset + 1], self.image[offset + 4 : offset + 8]
        at = pointers + 8 * (level + 1) + 8 + key
        return bytes(self.image[at : at + int.from_bytes(length, "big")])

    def _sign_head(self, offset: int) -> None:
        end = self._pointers(offset) + 8 * (self.image[offset + 1] + 1)
        struct.pack_into(">I", self.image, end, crc32(self.image[offset:end]))

    def _long(self, at: int) -> int:
        return int.from_bytes(self.image[at : at + 8], "big")

    def _put_long(self, at: int, number: int) -> None:
        struct.pack_into(">Q", self.image, at, number)

    def _replaced(self, first: int, second: int) -> int:
        if first >= self.current_size:
            return 0
        if second >= self.current_size:
            return 1
        return 0 if second > first else 1

    def _order(self, key: bytes) -> bytes:
        return key.translate(_FIRST) if self._mailbox_order else key


def _tail(key: bytes, value: bytes) -> bytes:
    return key + value + bytes(-(len(key) + len(value)) % 8)


def _record(kind: bytes, pointers: list[int], key: bytes = b"", value: bytes = b"") -> bytes:
    tail, long_key = _tail(key, value), len(key) >= 0xFFFF
    head = kind + struct.pack(
        ">BHI", len(pointers) - 1, 0xFFFF if long_key else len(key), len(value)
    )
    if long_key:
        head += struct.pack(">Q", len(key))
    head += struct.pack(f">{len(pointers)}Q", *pointers)
    return head + struct.pack(">II", crc32(head), crc32(tail)) + tail


def _crosses(at: int, head: int) -> bool:
    """Whether what a rewrite may change of a head at `at` would lie in two blocks."""
    return (at + 8) % _BLOCK > (at - 8 + head) % _BLOCK
