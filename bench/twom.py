"""Write large twom files as a repack leaves them, without Cyrus 3.13.

Follows lib/twom.c, in one pass. Checksums come from the package `xxhash`.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Iterable

import xxhash

from cyrusquota.cyrusdb.twom import layout

_BITS32 = (1 << 32) - 1


def _signed(head: bytes, tail: bytes) -> bytes:
    of_tail = xxhash.xxh3_64_intdigest(tail) & _BITS32 if tail else 0
    of_head = xxhash.xxh3_64_intdigest(head) & _BITS32
    return head + layout.CHECKSUMS.pack(of_head, of_tail) + tail


def _tail_bytes(key: bytes, value: bytes) -> bytes:
    tail = key + b"\0" + value + b"\0"
    return tail + bytes(-len(tail) % layout.ALIGN)


def write(path: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write the records, which must be sorted by key."""
    dice = random.Random(1)
    rows, at = [], layout.DUMMY_AT + layout.DUMMY_SIZE
    for key, value in records:
        level = 1
        while level < layout.MAX_LEVEL and dice.random() < 0.5:
            level += 1
        rows.append((at, level, key, value))
        pointers = layout.LONG.size * (level + 1)
        at += layout.START.size + pointers + layout.CHECKSUMS.size + len(_tail_bytes(key, value))
    commit, following = at, [0] * layout.MAX_LEVEL
    parts = []
    for at, level, key, value in reversed(rows):
        head = layout.START.pack(layout.ADD, level, len(key), len(value))
        links = struct.pack(f"<{level + 1}Q", 0, *following[:level])
        parts.append(_signed(head + links, _tail_bytes(key, value)))
        following[:level] = [at] * level
    dummy = layout.START.pack(layout.DUMMY, layout.MAX_LEVEL, 0, 0)
    dummy += struct.pack(f"<{layout.MAX_LEVEL + 1}Q", 0, *following)
    commit_head = layout.START.pack(layout.COMMIT, 0, 0, 0) + layout.LONG.pack(layout.DUMMY_AT)
    end = _signed(commit_head, b"")
    size = commit + len(end)
    highest = max(level for _, level, _, _ in rows)
    header = layout.Header(
        *(layout.MAGIC, bytes(range(16)), layout.VERSION, layout.CSUM_XXH64, 2, len(rows)),
        *(1, 0, size, size, highest, 0),
    )
    signed = layout.HEADER.pack(*header)[: layout.CHECKSUM_AT]
    checksum = xxhash.xxh3_64_intdigest(signed) & _BITS32
    with path.open("wb") as file:
        file.write(layout.HEADER.pack(*header._replace(checksum=checksum)))
        file.writelines((_signed(dummy, b""), *reversed(parts), end))
