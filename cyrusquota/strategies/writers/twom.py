"""Writes twom files as Cyrus 3.13 does (lib/twom.c)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Callable

from cyrusquota.cyrusdb.twom import layout
from cyrusquota.cyrusdb.twom.xxh3 import xxh3_64

from .linked import Entry, LinkedWriter

NULL, XXH64 = layout.CSUM_NULL, layout.CSUM_XXH64
_CHECKSUMS: dict[int, Callable[[bytes], int]] = {
    NULL: lambda data: 0,
    XXH64: lambda data: xxh3_64(data) & 0xFFFFFFFF if data else 0,
}


class TwomWriter(LinkedWriter):
    """A twom file; `checksums` is `XXH64` or `NULL`, and `fat` gives all records long lengths."""

    def __init__(
        self, path: Path, seed: int = 0, *, checksums: int = XXH64, fat: bool = False
    ) -> None:
        self._flags = checksums
        self._checksum = _CHECKSUMS[checksums]
        self._fat = fat
        self._uuid = bytes((seed + at) & 255 for at in range(16))
        super().__init__(path, seed)

    def set(self, key: bytes, value: bytes) -> None:
        index, old = self._place(key)
        if old is not None and not old.deleted and self._value(old.offset) == value:
            return
        before = self._before(index, layout.DUMMY_AT)
        kind, level, ancestor = layout.ADD, self._random_level(), b""
        if old is not None:
            kind, level = layout.REPLACE, old.level
            ancestor = layout.LONG.pack(old.deleted or old.offset)
            if not old.deleted:
                self.dirty_size += self._length(old.offset)
        following = [
            self._next(offset if old is None else old.offset, i)
            for i, offset in enumerate(before[:level])
        ]
        offset = self._append_stored(kind, ancestor, [0, *following], key, value)
        for i in range(level):
            self._link(before[i], i, offset)
        self._entries[index : index + (old is not None)] = [
            Entry(self._order(key), key, offset, level)
        ]
        self.num_records += old is None or bool(old.deleted)
        self.highest = max(self.highest, level)
        self._show()

    def delete(self, key: bytes) -> None:
        index, old = self._place(key)
        if old is None or old.deleted:
            return
        old.deleted = len(self.image)
        self.image += self._pointing(layout.DELETE, old.offset)
        self.dirty_size += self._length(old.offset) + len(self.image) - old.deleted
        self._link(self._before(index, layout.DUMMY_AT)[0], 0, old.deleted)
        self.num_records -= 1
        self._show()

    def _write(self) -> None:
        """The file grows in large steps, and what is behind its end does not matter."""
        size = len(self.image)
        if size > layout.DUMMY_AT + layout.DUMMY_SIZE:
            self.image += bytes(-size % layout.PAGE)
        super()._write()
        del self.image[size:]

    def _header(self, dirty: bool) -> bytes:
        flags = self._flags | (layout.DIRTY if dirty else 0)
        header = layout.Header(
            *(layout.MAGIC, self._uuid, layout.VERSION, flags, self.generation, self.num_records),
            *(self.commits, self.dirty_size, self.repack_size, self.current_size, self.highest, 0),
        )
        checksum = self._checksum(layout.HEADER.pack(*header)[: layout.CHECKSUM_AT])
        return layout.HEADER.pack(*header._replace(checksum=checksum))

    def _empty(self) -> bytes:
        head = layout.START.pack(layout.DUMMY, layout.MAX_LEVEL, 0, 0)
        head += bytes(layout.LONG.size * (layout.MAX_LEVEL + 1))
        return bytes(layout.HEADER.size) + self._signed(head, b"")

    def _append_commit(self, start: int) -> None:
        self.image += self._pointing(layout.COMMIT, start)

    def _append_stored(
        self, kind: int, ancestor: bytes, pointers: list[int], key: bytes, value: bytes
    ) -> int:
        level = len(pointers) - 1
        if self._fat or len(key) > layout.LONGEST_KEY:
            # Each type is followed by its fat one.
            start = layout.START.pack(kind + 1, level, 0, 0)
            start += layout.TWO_LONGS.pack(len(key), len(value))
        else:
            start = layout.START.pack(kind, level, len(key), len(value))
        offset = len(self.image)
        tail = key + b"\0" + value + b"\0"
        head = start + ancestor + struct.pack(f"<{len(pointers)}Q", *pointers)
        self.image += self._signed(head, tail + bytes(-len(tail) % layout.ALIGN))
        return offset

    def _pointing(self, kind: int, offset: int) -> bytes:
        return self._signed(layout.START.pack(kind, 0, 0, 0) + layout.LONG.pack(offset), b"")

    def _signed(self, head: bytes, tail: bytes) -> bytes:
        return head + layout.CHECKSUMS.pack(self._checksum(head), self._checksum(tail)) + tail

    def _lengths(self, offset: int) -> tuple[int, int]:
        kind, _, key, value = layout.START.unpack_from(self.image, offset)
        if kind in layout.FAT:
            key, value = layout.TWO_LONGS.unpack_from(self.image, offset + layout.START.size)
        return key, value

    def _length(self, offset: int) -> int:
        tail = sum(self._lengths(offset)) + 2
        return self._head_end(offset) + layout.CHECKSUMS.size - offset + tail + -tail % layout.ALIGN

    def _head_end(self, offset: int) -> int:
        return self._pointers(offset) + layout.LONG.size * (self.image[offset + 1] + 1)

    def _value(self, offset: int) -> bytes:
        key, value = self._lengths(offset)
        at = self._head_end(offset) + layout.CHECKSUMS.size + key + 1
        return bytes(self.image[at : at + value])

    def _pointers(self, offset: int) -> int:
        return offset + layout.POINTERS[self.image[offset]]

    def _sign_head(self, offset: int) -> None:
        end = self._head_end(offset)
        struct.pack_into("<I", self.image, end, self._checksum(bytes(self.image[offset:end])))

    def _long(self, at: int) -> int:
        found: int = layout.LONG.unpack_from(self.image, at)[0]
        return found

    def _put_long(self, at: int, number: int) -> None:
        layout.LONG.pack_into(self.image, at, number)

    def _replaced(self, first: int, second: int) -> int:
        end = self.current_size
        return int(first < end and (second >= end or first > second))
