"""The records of a twom file, with valid checksums.

Records never change once they are committed, but for the pointers in their heads and the checksum
over those. Files made with the NULL checksum have nothing to check.
"""

from __future__ import annotations

import os
from typing import Callable, Iterator, NamedTuple, Optional

from cyrusquota.cyrusdb.database import Unreadable, attempts
from cyrusquota.cyrusdb.twom.layout import (
    ALIGN,
    ANCESTOR,
    CHECKSUM_AT,
    CHECKSUMS,
    CSUM_NULL,
    DUMMY,
    DUMMY_AT,
    DUMMY_SIZE,
    FAT,
    HEADER,
    LONG,
    MAGIC,
    MAX_LEVEL,
    POINTERS,
    START,
    STORES,
    TWO_LONGS,
    Header,
)
from cyrusquota.cyrusdb.twom.xxh3 import checksum


class Head(NamedTuple):
    """The head of a record: what it is, and where its key and value lie."""

    kind: int
    pointers: int
    checksums: int
    key: int
    key_end: int
    value: int
    value_end: int
    end: int


def checksum_of(flags: int, data: bytes) -> int:
    """Return the checksum of `data` in a file with these flags."""
    return 0 if flags & CSUM_NULL else checksum(data)


def is_header(raw: bytes) -> bool:
    """Return whether a twom file may start with `raw`."""
    return len(raw) == HEADER.size and raw.startswith(MAGIC)


def checked_header(raw: bytes, before: bytes = b"") -> Optional[Header]:
    """Return the header that `raw` is, or None where its checksum fails.

    Without checksums, it has to be what was read `before`.
    """
    header = Header._make(HEADER.unpack(raw))
    if header.checksum != checksum_of(header.flags, raw[:CHECKSUM_AT]):
        return None
    return header if raw == before or not header.flags & CSUM_NULL else None


#: Reads so many bytes at an offset of the file until the checksum behind them is right.
Settle = Callable[[int, int], Optional[bytes]]


def settled(descriptor: int, flags: int) -> Settle:
    """Return a function that reads a record head again until the writer has done with it."""

    def settle(at: int, length: int) -> Optional[bytes]:
        for _ in attempts():
            raw = os.pread(descriptor, length + CHECKSUMS.size, at)
            if len(raw) < length + CHECKSUMS.size:
                return None
            if checksum_of(flags, raw[:length]) == CHECKSUMS.unpack(raw[length:])[0]:
                return raw
        return None

    return settle


def checked(
    data: bytes, start: int, flags: int, settle: Settle, base: int = 0
) -> Iterator[tuple[int, Head]]:
    """Yield offset and head of each record of `data`, which stands at `base` in the file.

    The checksums of the heads are right, those of the tails are left to `tail_is_right`. Raises
    `Unreadable`.
    """
    at, end = start, len(data)
    while at < end:
        head = checked_head(data, at, flags, settle, base)
        if (head.kind == DUMMY) != (base + at == DUMMY_AT):
            raise Unreadable(at, "a type of record")
        yield at, head
        at = head.end


def checked_head(data: bytes, at: int, flags: int, settle: Settle, base: int = 0) -> Head:
    """Return the head of the record at `at`, if its checksum is right; raises `Unreadable`."""
    head = head_at(data, at)
    if checksum_of(flags, data[at : head.checksums]) == stored_checksums(data, head)[0]:
        return head
    if head.kind == DUMMY:
        # Always of one size, with nothing but pointers in it.
        is_rewritten = head.end == at + DUMMY_SIZE
    else:
        # Nothing of a DELETE or COMMIT is ever rewritten; of others, only the pointers.
        again = settle(base + at, head.checksums - at) if head.kind in STORES else None
        length = head.pointers - at
        is_rewritten = again is not None and again[:length] == data[at : head.pointers]
    if not is_rewritten:
        raise Unreadable(at, "the checksum of a record's head")
    return head


def tail_is_right(flags: int, data: bytes, head: Head) -> bool:
    """Return whether the checksum of the key and the value is right, and what is around them."""
    # Nothing but NULs behind the key and the value, or their lengths are not right.
    return (
        checksum_of(flags, data[head.key : head.end]) == stored_checksums(data, head)[1]
        and not data[head.key_end]
        and not data[head.value_end : head.end].strip(b"\0")
    )


def head_at(data: bytes, at: int) -> Head:
    """Return the head of the record at `at`; raises `Unreadable` where it cannot be one."""
    if at + START.size > len(data):
        raise Unreadable(at, "a record within the committed size")
    kind, level, key_length, value_length = START.unpack_from(data, at)
    if kind not in POINTERS or level > MAX_LEVEL:
        raise Unreadable(at, "a record")
    pointers = at + POINTERS[kind]
    checksums = pointers + LONG.size * (level + 1)
    key = checksums + CHECKSUMS.size
    if key > len(data):
        raise Unreadable(at, "a record within the committed size")
    if kind not in STORES:
        return Head(kind, pointers, checksums, key, key, key, key, key)
    if kind in FAT:
        key_length, value_length = TWO_LONGS.unpack_from(data, at + START.size)
    key_end = key + key_length
    value = key_end + 1
    value_end = value + value_length
    end = value_end + 1 + -(key_length + value_length + 2) % ALIGN
    if end > len(data):
        raise Unreadable(at, "a record within the committed size")
    return Head(kind, pointers, checksums, key, key_end, value, value_end, end)


def stored_checksums(data: bytes, head: Head) -> tuple[int, int]:
    """Return the checksums of the head and the tail that stand in the record."""
    found: tuple[int, int] = CHECKSUMS.unpack_from(data, head.checksums)
    return found


def ancestor(data: bytes, at: int, head: Head) -> int:
    """Return the offset of the record that the one at `at` supersedes; 0: none."""
    if head.kind not in ANCESTOR:
        return 0
    found: int = LONG.unpack_from(data, at + ANCESTOR[head.kind])[0]
    return found


def kind_at(data: bytes, at: int) -> int:
    """Return the type that the record at `at` would have; 0: none."""
    return data[at] if at < len(data) else 0
