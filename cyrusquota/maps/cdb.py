"""Write and read constant databases, as Exim, tinycdb and Postfix read them (cr.yp.to/cdb/cdb.txt).

A header of 256 pointers to hash tables, the records, the tables; all numbers are 32 bits, little
endian. The comments are the value of the empty key, which Exim never looks up.

A map without entries has a header too: an empty file is no cdb, and Exim reports an error for each
recipient. A cdb compares bytes, so keys must be in lower case already.
"""

from __future__ import annotations

import functools
import struct
from typing import Iterable, Iterator, Optional

from cyrusquota.errors import MapError, printable
from cyrusquota.maps import lsearch
from cyrusquota.maps._entry import Entry, Row
from cyrusquota.maps.header import is_header
from cyrusquota.maps.redirect import deferral, refusal, space_left

__all__ = [
    "IS_TEXT",
    "body",
    "comments",
    "deferral",
    "document",
    "is_format_of",
    "keys",
    "refusal",
    "row",
    "space_left",
    "value",
]

IS_TEXT = False

_PAIR = struct.Struct("<II")
_TABLES = 256
_HEADER = _PAIR.size * _TABLES
_MASK = 0xFFFFFFFF
_MAX_SIZE = 0xFFFFFFFF
_NO_KEY = b""

#: A slot of a hash table: the hash of a key and where its record is, 0 if the slot is free.
_Slot = tuple[int, int]
_FREE: _Slot = (0, 0)


def document(entries: Iterable[Entry], comments: Iterable[str]) -> bytes:
    """Return a whole cdb. Raises `MapError` beyond the 4 GiB that the format can address."""
    text = "\n".join(printable(comment) for comment in comments).encode("utf-8")
    records = bytearray()
    tables: list[list[_Slot]] = [[] for _ in range(_TABLES)]
    for entry in (Entry(_NO_KEY, text), *entries):
        hashed = _hash(entry.key)
        tables[hashed % _TABLES].append((hashed, _HEADER + len(records)))
        records += _PAIR.pack(len(entry.key), len(entry.value)) + entry.key + entry.value
    slots = bytearray()
    header = bytearray()
    for table in tables:
        header += _pointer(_HEADER + len(records) + len(slots), 2 * len(table))
        slots += b"".join(_PAIR.pack(*slot) for slot in _table(table))
    return bytes(header + records + slots)


def row(entry: Entry) -> Row:
    """Return an entry as `keys` and `body` have it."""
    return Row(entry.key, lsearch.row(entry).line)


@functools.lru_cache(1 << 16)
def _hash(key: bytes) -> int:
    hashed = 5381
    for byte in key:
        hashed = (hashed * 33 & _MASK) ^ byte
    return hashed


def _table(members: list[_Slot]) -> list[_Slot]:
    """Return twice as many slots as members, each at the first free slot after its hash."""
    table = [_FREE] * (2 * len(members))
    for member in members:
        slot = (member[0] // _TABLES) % len(table)
        while table[slot] != _FREE:
            slot = (slot + 1) % len(table)
        table[slot] = member
    return table


def _pointer(position: int, count: int) -> bytes:
    if position + _PAIR.size * count > _MAX_SIZE:
        raise MapError("a cdb holds no more than 4 GiB; use --map-format lsearch")
    return _PAIR.pack(position, count)


def body(content: bytes) -> bytes:
    """Return the entries as lines of an lsearch file; for other files, `content` itself."""
    records = _records(content)
    if records is None:
        return content
    try:
        return b"".join(lsearch.lines(entry for entry in records if entry.key != _NO_KEY))
    except ValueError:
        return content


def comments(content: bytes) -> list[str]:
    """Return the lines of the empty key; none where `content` is no cdb."""
    texts = (entry.value for entry in _records(content) or () if entry.key == _NO_KEY)
    return [line.decode("utf-8", "replace") for line in b"\n".join(texts).splitlines()]


def keys(content: bytes) -> set[bytes]:
    """Return the keys of a map; none where `content` is no cdb."""
    return {entry.key for entry in _records(content) or () if entry.key != _NO_KEY}


def value(content: bytes, key: bytes) -> Optional[bytes]:
    """Return the value of a key, or None."""
    found = (entry.value for entry in _records(content) or () if entry.key == key != _NO_KEY)
    return next(found, None)


def is_format_of(content: bytes) -> bool:
    """Return whether `content` is a cdb that cyrusquota wrote."""
    return is_header(comments(content))


def _records(content: bytes) -> Optional[list[Entry]]:
    """Return every record, or None unless they fill the file exactly up to the first hash table."""
    if len(content) < _HEADER:
        return None
    pointers = list(_PAIR.iter_unpack(content[:_HEADER]))
    end = pointers[0][0]
    if end + sum(_PAIR.size * count for _, count in pointers) != len(content):
        return None
    try:
        return list(_between(content, end))
    except ValueError:
        return None


def _between(content: bytes, end: int) -> Iterator[Entry]:
    position = _HEADER
    while position < end:
        if position + _PAIR.size > end:
            raise ValueError("a record is cut off")
        key_size, value_size = _PAIR.unpack_from(content, position)
        key = position + _PAIR.size
        value, position = key + key_size, key + key_size + value_size
        if position > end:
            raise ValueError("a record is cut off")
        yield Entry(content[key:value], content[value:position])
    if position != end:
        raise ValueError("the records end too late")
