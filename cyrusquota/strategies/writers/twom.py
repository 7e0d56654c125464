"""Writes twom files as Cyrus 3.13 does (lib/twom.c)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Callable

from cyrusquota.cyrusdb.twom.xxh3 import xxh3_64

from .linked import MAX_LEVEL, Entry, LinkedWriter

_MAGIC = b"\xa1\x02\x8b\rtwomfile" + bytes(4)
_HEADER_SIZE = 96
_DUMMY = _HEADER_SIZE
_PAGE = 1 << 14
NULL, XXH64 = 1 << 27, 1 << 28
_CHECKSUMS: dict[int, Callable[[bytes], int]] = {
    NULL: lambda data: 0,
    XXH64: lambda data: xxh3_64(data) & 0xFFFFFFFF if data else 0,
}
_DUMMY_TYPE, _ADD, _FATADD, _REPLACE, _FATREPLACE, _DELETE, _COMMIT = range(1, 8)
#: How much of a record comes before its pointers.
_FRONT = {_DUMMY_TYPE: 8, _ADD: 8, _FATADD: 24, _REPLACE: 16, _FATREPLACE: 32}


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
        before = self._before(index, _DUMMY)
        kind, level, ancestor = _ADD, self._random_level(), b""
        if old is not None:
            kind, level = _REPLACE, old.level
            ancestor = struct.pack("<Q", old.deleted or old.offset)
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
        self.dirty_size += self._length(old.offset) + 24
        old.deleted = len(self.image)
        self.image += self._signed(struct.pack("<BxxxxxxxQ", _DELETE, old.offset), b"")
        self._link(self._before(index, _DUMMY)[0], 0, old.deleted)
        self.num_records -= 1
        self._show()

    def _write(self) -> None:
        """The file grows in large steps, and what is behind its end does not matter."""
        size = len(self.image)
        if size > _HEADER_SIZE + 272:
            self.image += bytes(-size % _PAGE)
        super()._write()
        del self.image[size:]

    def _header(self, dirty: bool) -> bytes:
        fields = struct.pack(
            "<16s16sIIQQQQQQI",
            *(_MAGIC, self._uuid, 1, self._flags | dirty, self.generation, self.num_records),
            *(self.commits, self.dirty_size, self.repack_size, self.current_size, self.highest),
        )
        return fields + struct.pack("<I", self._checksum(fields))

    def _empty(self) -> bytes:
        head = struct.pack("<BBxxxxxx", _DUMMY_TYPE, MAX_LEVEL) + bytes(8 * (MAX_LEVEL + 1))
        return bytes(_HEADER_SIZE) + self._signed(head, b"")

    def _append_commit(self, start: int) -> None:
        self.image += self._signed(struct.pack("<BxxxxxxxQ", _COMMIT, start), b"")

    def _append_stored(
        self, kind: int, ancestor: bytes, pointers: list[int], key: bytes, value: bytes
    ) -> int:
        level = len(pointers) - 1
        if self._fat or len(key) > 0xFFFF:
            start = struct.pack("<BBxxxxxxQQ", kind + 1, level, len(key), len(value))
        else:
            start = struct.pack("<BBHI", kind, level, len(key), len(value))
        offset = len(self.image)
        tail = key + b"\0" + value + b"\0"
        head = start + ancestor + struct.pack(f"<{len(pointers)}Q", *pointers)
        self.image += self._signed(head, tail + bytes(-len(tail) % 8))
        return offset

    def _signed(self, head: bytes, tail: bytes) -> bytes:
        return head + struct.pack("<II", self._checksum(head), self._checksum(tail)) + tail

    def _lengths(self, offset: int) -> tuple[int, int]:
        kind, _, key, value = struct.unpack_from("<BBHI", self.image, offset)
        if kind in (_FATADD, _FATREPLACE):
            return self._long(offset + 8), self._long(offset + 16)
        return key, value

    def _length(self, offset: int) -> int:
        tail = sum(self._lengths(offset)) + 2
        return self._head_end(offset) + 8 - offset + tail + -tail % 8

    def _head_end(self, offset: int) -> int:
        return self._pointers(offset) + 8 * (self.image[offset + 1] + 1)

    def _value(self, offset: int) -> bytes:
        key, value = self._lengths(offset)
        at = self._head_end(offset) + 8 + key + 1
        return bytes(self.image[at : at + value])

    def _pointers(self, offset: int) -> int:
        return offset + _FRONT[self.image[offset]]

    def _sign_head(self, offset: int) -> None:
        end = self._head_end(offset)
        struct.pack_into("<I", self.image, end, self._checksum(bytes(self.image[offset:end])))

    def _long(self, at: int) -> int:
        return int.from_bytes(self.image[at : at + 8], "little")

    def _put_long(self, at: int, number: int) -> None:
        struct.pack_into("<Q", self.image, at, number)

    def _replaced(self, first: int, second: int) -> int:
        end = self.current_size
        return int(first < end and (second >= end or first > second))
