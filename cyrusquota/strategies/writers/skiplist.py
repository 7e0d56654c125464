"""Writes skiplist files as Cyrus does: an append for every change, and pointers moved in place."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Optional

from cyrusquota.cyrusdb.skiplist import layout

_MADE = 1_700_000_000
#: Keys are in the order of their bytes as signed numbers.
_SIGNED = bytes(byte ^ 0x80 for byte in range(256))


def _words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _padded(text: bytes) -> bytes:
    return text.ljust(layout.padded(len(text)), b"\0")


def record(kind: int, key: bytes, value: bytes, pointers: list[int]) -> bytes:
    """A record that is no DELETE or COMMIT."""
    head = _words(kind, len(key)) + _padded(key) + _words(len(value)) + _padded(value)
    return head + _words(*pointers) + layout.PADDING


class _Node:
    """Where the live record of a key is, and how many pointers it has."""

    def __init__(self, key: bytes, value: bytes, offset: int, level: int) -> None:
        self.key = key
        self.value = value
        self.offset = offset
        self.level = level
        #: Where the first of its pointers is.
        self.pointers = layout.value_at(offset, len(key)) + layout.padded(len(value))


class SkiplistWriter:
    """A writer of a skiplist file; every second abort is one of a killed process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._live: dict[bytes, _Node] = {}
        self._before: dict[bytes, _Node] = {}
        self._committed = 0
        self._made = self._aborts = 0
        self._checkpoint(path)

    def begin(self) -> None:
        # What a killed writer left is cut off first.
        os.truncate(self.path, self._committed)
        self._before = dict(self._live)
        self._link()

    def set(self, key: bytes, value: bytes) -> None:
        old = self._live.get(key)
        if old is not None:
            self._append(_words(layout.DELETE, old.offset))
        level = self._random_level() if old is None else old.level
        at = self._append(record(layout.ADD, key, value, [0] * level))
        self._live[key] = _Node(key, value, at, level)
        self._link()

    def delete(self, key: bytes) -> None:
        old = self._live.pop(key, None)
        if old is not None:
            self._append(_words(layout.DELETE, old.offset))
            self._link()

    def commit(self) -> None:
        if self.path.stat().st_size > self._committed:
            self._append(_words(layout.COMMIT))
        self._committed = self.path.stat().st_size

    def abort(self) -> None:
        self._aborts += 1
        self._live = self._before
        if self._aborts % 2:
            self._link()
            os.truncate(self.path, self._committed)
        else:
            size = self.path.stat().st_size
            os.truncate(self.path, max(self._committed, size - self._aborts % 16))

    def repack(self) -> None:
        new = self.path.with_name(self.path.name + ".NEW")
        with self.path.open("r+b") as old:
            self._checkpoint(new)
            os.replace(new, self.path)
            old.truncate(0)

    def _checkpoint(self, path: Path) -> None:
        """Write what is live in order, without a log."""
        at = layout.HEADER.size + len(layout.DUMMY_START) + layout.LONGEST_POINTERS
        body = [record(layout.DUMMY, b"", b"", [0] * layout.MAX_LEVEL)]
        for node in self._in_order():
            body.append(record(layout.INORDER, node.key, node.value, [0] * node.level))
            self._live[node.key] = _Node(node.key, node.value, at, node.level)
            at += len(body[-1])
        level = max((node.level for node in self._live.values()), default=1)
        header = layout.HEADER.pack(
            *(layout.MAGIC, layout.VERSION, layout.MINOR_VERSION, layout.MAX_LEVEL, level),
            *(len(self._live), at, _MADE),
        )
        path.write_bytes(header + b"".join(body))
        self._committed = at
        self._link(path)

    def _in_order(self) -> list[_Node]:
        return sorted(self._live.values(), key=lambda node: node.key.translate(_SIGNED))

    def _random_level(self) -> int:
        """Half of the records have one pointer, a quarter two, and so on."""
        self._made += 1
        return min((self._made & -self._made).bit_length(), layout.MAX_LEVEL)

    def _append(self, what: bytes) -> int:
        with self.path.open("ab") as file:
            at = file.tell()
            file.write(what)
        return at

    def _link(self, path: Optional[Path] = None) -> None:
        """Put the pointers of all live records right, and how many levels are in use."""
        dummy = _Node(b"", b"", layout.DUMMY_AT, layout.MAX_LEVEL)
        in_order = self._in_order()
        with (path or self.path).open("r+b") as file:
            file.seek(layout.CURLEVEL_AT)
            file.write(_words(max((node.level for node in in_order), default=1)))
            for level in range(layout.MAX_LEVEL):
                behind = 0
                for node in reversed([dummy, *in_order]):
                    if node.level > level:
                        file.seek(node.pointers + layout.WORD.size * level)
                        file.write(_words(behind))
                        behind = node.offset
