"""The layout of twom files, from Cyrus 3.13.1 on (lib/twom.c)."""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"\xa1\x02\x8b\x0dtwomfile\0\0\0\0"
VERSION = 1


class Header(NamedTuple):
    """The header (`struct tm_header`); `checksum` is over all that comes before it."""

    magic: bytes
    uuid: bytes
    version: int
    flags: int
    generation: int
    num_records: int
    num_commits: int
    dirty_size: int
    repack_size: int
    current_size: int
    maxlevel: int
    checksum: int


#: Packs and unpacks a `Header`.
HEADER = struct.Struct("<16s16sIIQQQQQQII")
VERSION_AT, NUM_RECORDS_AT, CURRENT_SIZE_AT, CHECKSUM_AT = 32, 48, 80, 92
#: The flags that say how checksums are made; what is called XXH64 is the low half of XXH3-64.
DIRTY, CSUM_NULL, CSUM_XXH64, CSUM_EXTERNAL = 1, 1 << 27, 1 << 28, 1 << 29
#: The keys are in an order that only one program knows, which does not matter to a log.
ORDER_EXTERNAL = 1 << 30

#: type, level, key length, value length
START = struct.Struct("<BBHI")
LONG = struct.Struct("<Q")
TWO_LONGS = struct.Struct("<QQ")
#: Of the head and of the tail, behind the head.
CHECKSUMS = struct.Struct("<II")
DUMMY, ADD, FATADD, REPLACE, FATREPLACE, DELETE, COMMIT = range(1, 8)
#: Where the pointers start, and where the offset of the superseded record stands, by type.
POINTERS = {DUMMY: 8, ADD: 8, FATADD: 24, REPLACE: 16, FATREPLACE: 32, DELETE: 8, COMMIT: 8}
ANCESTOR = {REPLACE: 8, FATREPLACE: 24, DELETE: 8}
#: Types that store a key and a value; the fat ones have their lengths behind the start.
STORES = frozenset((ADD, FATADD, REPLACE, FATREPLACE))
FAT = frozenset((FATADD, FATREPLACE))
MAX_LEVEL = 31
#: Longer keys need a fat record.
LONGEST_KEY = 0xFFFF
ALIGN = 8
#: The record that all lists start from stands behind the header, and has all levels and no key.
DUMMY_AT = HEADER.size
DUMMY_SIZE = START.size + LONG.size * (MAX_LEVEL + 1) + CHECKSUMS.size
#: Files grow by multiples of this.
PAGE = 1 << 14
