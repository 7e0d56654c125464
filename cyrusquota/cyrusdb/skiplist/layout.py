"""The layout of skiplist files, the same in all versions (lib/cyrusdb_skiplist.c)."""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"\xa1\x02\x8b\x0dskiplist file\0\0\0"
VERSION, MINOR_VERSION = 1, 2


class Header(NamedTuple):
    """The header; `last_recovery` is a time in seconds, `listsize` right after a checkpoint."""

    magic: bytes
    version: int
    minor_version: int
    maxlevel: int
    curlevel: int
    listsize: int
    logstart: int
    last_recovery: int


#: Packs and unpacks a `Header`.
HEADER = struct.Struct(">20sIIIIIII")
VERSION_AT, MAXLEVEL_AT, CURLEVEL_AT, LOGSTART_AT = 20, 28, 32, 40
#: type, and the length of the key or, in a DELETE, the offset of the record deleted
START = struct.Struct(">II")
WORD = struct.Struct(">I")
INORDER, ADD, DELETE, COMMIT, DUMMY = 1, 2, 4, 255, 257
MAX_LEVEL = 20
#: What ends the pointers of a record.
PADDING = b"\xff\xff\xff\xff"
ALIGN = 4

#: The record that all lists start from stands behind the header, and has no key and no value.
DUMMY_AT = HEADER.size
DUMMY_START = struct.pack(">III", DUMMY, 0, 0)
#: As many pointers as a record can have, in bytes, with what ends them.
LONGEST_POINTERS = WORD.size * MAX_LEVEL + len(PADDING)
#: What the file of an empty database has.
EMPTY_SIZE = DUMMY_AT + len(DUMMY_START) + LONGEST_POINTERS
#: Offsets are multiples of 4, so this is what the last bytes of pointers can be.
LAST_BYTES = bytes(range(0, 256, ALIGN))


def padded(length: int) -> int:
    """Return how many bytes a key or a value of `length` takes."""
    return length + -length % ALIGN


def value_at(at: int, key_length: int) -> int:
    """Return where the value starts of the record at `at`."""
    return at + START.size + padded(key_length) + WORD.size
