"""Large twom files as a repack leaves them, for machines whose Cyrus has no twom yet (3.13 has).

After lib/twom.c, in one pass; the checksums are those of the `xxhash` package.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Iterable

import xxhash

_MAGIC = b"\xa1\x02\x8b\rtwomfile" + bytes(4)
_HEADER = struct.Struct("<16s16sIIQQQQQQI")
_START = 96
_DUMMY, _ADD, _COMMIT = 1, 2, 7
_LEVELS, _BITS32 = 31, (1 << 32) - 1
_XXH64 = 1 << 28


def _signed(head: bytes, tail: bytes) -> bytes:
    of_tail = xxhash.xxh3_64_intdigest(tail) & _BITS32 if tail else 0
    return head + struct.pack("<II", xxhash.xxh3_64_intdigest(head) & _BITS32, of_tail) + tail


def _tail(key: bytes, value: bytes) -> bytes:
    tail = key + b"\0" + value + b"\0"
    return tail + bytes(-len(tail) % 8)


def write(path: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write the records, which must be in the order of their keys."""
    dice = random.Random(1)
    rows, at = [], _START + 8 + 8 * (_LEVELS + 1) + 8
    for key, value in records:
        level = 1
        while level < _LEVELS and dice.random() < 0.5:
            level += 1
        rows.append((at, level, key, value))
        at += 8 + 8 * (level + 1) + 8 + len(_tail(key, value))
    commit, following = at, [0] * _LEVELS
    parts = []
    for at, level, key, value in reversed(rows):
        head = struct.pack("<BBHI", _ADD, level, len(key), len(value))
        pointers = struct.pack(f"<{level + 1}Q", 0, *following[:level])
        parts.append(_signed(head + pointers, _tail(key, value)))
        following[:level] = [at] * level
    dummy = struct.pack("<BBxxxxxx", _DUMMY, _LEVELS) + struct.pack("<32Q", 0, *following)
    end = _signed(struct.pack("<BxxxxxxxQ", _COMMIT, _START), b"")
    size = commit + len(end)
    highest = max(level for _, level, _, _ in rows)
    fields = (1, _XXH64, 2, len(rows), 1, 0, size, size, highest)
    header = _HEADER.pack(_MAGIC, bytes(range(16)), *fields)
    with path.open("wb") as file:
        file.write(header + struct.pack("<I", xxhash.xxh3_64_intdigest(header) & _BITS32))
        file.writelines((_signed(dummy, b""), *reversed(parts), end))
