"""The layout of twoskip files, the same from Cyrus 2.5 on (lib/cyrusdb_twoskip.c)."""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0"
VERSION = 1


class Header(NamedTuple):
    """The header (`struct db_header`); `crc` is over all that comes before it."""

    magic: bytes
    version: int
    generation: int
    num_records: int
    repack_size: int
    current_size: int
    flags: int
    crc: int


#: Packs and unpacks a `Header`.
HEADER = struct.Struct(">20sIQQQQII")
VERSION_AT, NUM_RECORDS_AT, CURRENT_SIZE_AT, CRC_AT = 20, 32, 48, 60
#: A writer is at work, or died.
DIRTY = 1

#: type, level, key length, value length; then any long lengths, the pointers and two CRCs
START = struct.Struct(">BBHI")
LONG = struct.Struct(">Q")
CRCS = struct.Struct(">II")
DUMMY, RECORD, DELETE, COMMIT = b"=+-$"
#: What stands behind the dummy record, and whose heads are rewritten in place (`rewrite_record`).
LOGGED, REWRITTEN = frozenset((RECORD, DELETE, COMMIT)), frozenset((DUMMY, RECORD))
#: Skipped between records; since 3.2 it keeps heads from crossing a disk block.
BLANK = b" BLANK\x07\xa0"
BLOCK = 512
MAX_LEVEL = 31
#: These lengths say that the real one follows as a `LONG`.
LONG_KEY, LONG_VALUE = 0xFFFF, 0xFFFFFFFF
ALIGN = 8
#: The record that all lists start from stands behind the header, and has all levels and no key.
DUMMY_AT = HEADER.size
DUMMY_SIZE = START.size + LONG.size * (MAX_LEVEL + 1) + CRCS.size
