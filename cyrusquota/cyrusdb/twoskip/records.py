"""The records of a twoskip file, with valid checksums.

Records never change once they are committed, but for the pointers in their heads and the checksum
over those.
"""

from __future__ import annotations

import os
from typing import Callable, Iterator, NamedTuple, Optional
from zlib import crc32

from cyrusquota.cyrusdb.database import Unreadable, attempts
from cyrusquota.cyrusdb.twoskip.layout import (
    ALIGN,
    BLANK,
    CRC_AT,
    CRCS,
    DELETE,
    DUMMY,
    DUMMY_AT,
    HEADER,
    LOGGED,
    LONG,
    LONG_KEY,
    LONG_VALUE,
    MAGIC,
    MAX_LEVEL,
    RECORD,
    REWRITTEN,
    START,
    Header,
)


class Head(NamedTuple):
    """The head of a record: what it is, and where its key and value lie."""

    kind: int
    level: int
    pointers: int
    key: int
    value: int
    tail: int
    end: int
    head_crc: int
    tail_crc: int


def is_header(raw: bytes) -> bool:
    """Return whether a twoskip file may start with `raw`."""
    return len(raw) == HEADER.size and raw.startswith(MAGIC)


def checked_header(raw: bytes) -> Optional[Header]:
    """Return the header that `raw` is, or None where its checksum fails."""
    header = Header._make(HEADER.unpack(raw))
    return header if crc32(raw[:CRC_AT]) == header.crc else None


#: Reads so many bytes at an offset of the file until the checksum behind them is right.
Settle = Callable[[int, int], Optional[bytes]]


def settled(descriptor: int) -> Settle:
    """Return a function that reads a record head again until the writer has done with it."""

    def settle(at: int, length: int) -> Optional[bytes]:
        for _ in attempts():
            raw = os.pread(descriptor, length + CRCS.size, at)
            is_whole = len(raw) == length + CRCS.size
            if is_whole and crc32(raw[:length]) == CRCS.unpack_from(raw, length)[0]:
                return raw
        return None

    return settle


def head_at(data: bytes, at: int) -> Head:
    """Return the head of the record at `at`; raises `Unreadable` where it cannot be one."""
    if at + START.size > len(data):
        raise Unreadable(at, "a record within the committed size")
    kind, level, key_length, value_length = START.unpack_from(data, at)
    pointers = at + START.size
    if level > MAX_LEVEL or pointers + 2 * LONG.size > len(data):
        raise Unreadable(at, "a record")
    if key_length == LONG_KEY:
        (key_length,) = LONG.unpack_from(data, pointers)
        pointers += LONG.size
    if value_length == LONG_VALUE:
        (value_length,) = LONG.unpack_from(data, pointers)
        pointers += LONG.size
    crcs = pointers + LONG.size * (level + 1)
    key = crcs + CRCS.size
    tail = key + key_length + value_length
    end = tail + -(key_length + value_length) % ALIGN
    if end > len(data):
        raise Unreadable(at, "a record within the committed size")
    head_crc, tail_crc = CRCS.unpack_from(data, crcs)
    return Head(kind, level, pointers, key, key + key_length, tail, end, head_crc, tail_crc)


def checked(data: bytes, start: int, settle: Settle, base: int = 0) -> Iterator[tuple[int, Head]]:
    """Yield offset and head of each record of `data`, which stands at `base` in the file.

    The checksums of each are right; raises `Unreadable` where they are not.
    """
    at, end = start, len(data)
    while at < end:
        if data.startswith(BLANK, at):
            at += len(BLANK)
            continue
        head = checked_head(data, at, settle, base)
        if head.kind == RECORD and not tail_is_right(data, head):
            raise Unreadable(at, "the checksum of a record")
        if head.kind not in LOGGED and not is_dummy(data, at, base):
            raise Unreadable(at, "a type of record")
        yield at, head
        at = head.end


def checked_head(data: bytes, at: int, settle: Optional[Settle], base: int = 0) -> Head:
    """Return the head of the record at `at`, if a checksum proves all of it but the pointers.

    Raises `Unreadable`; without `settle` also where the pointers are not proven, because a writer
    was at them when the file was read or copied.
    """
    head = head_at(data, at)
    length = head.key - CRCS.size - at
    if crc32(data[at : at + length]) == head.head_crc:
        return head
    if settle is not None and (is_dummy(data, at, base) or tail_proves(data, head)):
        return head
    # Nothing of a DELETE or COMMIT is ever rewritten.
    again = settle(base + at, length) if settle and head.kind in REWRITTEN else None
    # Only the pointers may have been rewritten: the lengths and the tail's checksum stay.
    same = again is not None and again[: head.pointers - at] == data[at : head.pointers]
    if not same or again is None or CRCS.unpack_from(again, length)[1] != head.tail_crc:
        raise Unreadable(at, "the checksum of a record's head")
    return head


def is_dummy(data: bytes, at: int, base: int = 0) -> bool:
    """Return whether the record at `at` is the dummy, which has one place and one size."""
    return base + at == DUMMY_AT and data.startswith(START.pack(DUMMY, MAX_LEVEL, 0, 0), at)


def tail_proves(data: bytes, head: Head) -> bool:
    """Return whether the checksum of the tail proves the lengths, the key and the value.

    It is found behind as many pointers as the record has, and covers as much as the lengths say and
    the padding; that ends with zeros, so what comes before it must not. Offsets begin with a zero,
    and no record does, so with a wrong level no other record is taken for pointers.
    """
    padding = data[head.tail : head.end]
    return (
        head.kind == RECORD
        and not any(data[head.pointers : head.key - CRCS.size : LONG.size])
        and head.key < head.value
        and data[head.tail - 1] != 0
        and not padding.strip(b"\0")
        and tail_is_right(data, head)
    )


def tail_is_right(data: bytes, head: Head) -> bool:
    """Return whether the checksum of the key and the value is right."""
    return crc32(data[head.key : head.end]) == head.tail_crc


def pointer(data: bytes, head: Head, index: int) -> int:
    """Return one of the pointers of a record."""
    found: int = LONG.unpack_from(data, head.pointers + index * LONG.size)[0]
    return found


def next_record(data: bytes, head: Head, end: int) -> int:
    """Return the next record of the lowest level for a reader whose file ends at `end`; 0: none.

    Two alternatives are kept, of which the older stays right until the commit of the newer.
    """
    first = pointer(data, head, 0)
    if head.kind == DELETE:
        return first
    second = pointer(data, head, 1)
    if first >= end:
        return second
    return first if second >= end else max(first, second)
