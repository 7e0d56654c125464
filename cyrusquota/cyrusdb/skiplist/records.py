"""The records of a skiplist file, and the transactions of its log.

There are no checksums: everything that has a rule is held to it.
"""

from __future__ import annotations

import abc
import re
from typing import Optional

from cyrusquota.cyrusdb.database import Unreadable
from cyrusquota.cyrusdb.skiplist.layout import (
    ADD,
    ALIGN,
    COMMIT,
    DELETE,
    DUMMY_AT,
    DUMMY_START,
    HEADER,
    LAST_BYTES,
    LONGEST_POINTERS,
    MAGIC,
    MAX_LEVEL,
    PADDING,
    START,
    VERSION,
    VERSION_AT,
    WORD,
    Header,
    value_at,
)

#: The end of a transaction whose last record is an ADD, or a DELETE.
_COMMITTED = re.compile(
    re.escape(PADDING + WORD.pack(COMMIT))
    + b"|"
    + re.escape(WORD.pack(DELETE))
    + b".{4}"
    + re.escape(WORD.pack(COMMIT))
    + rb"\Z",
    re.DOTALL,
)
_NOT_ZERO = re.compile(rb"[^\0]")


class Unfinished(Exception):
    """The file ends before the record does."""


def key_and_end(data: bytes, at: int, kind: int) -> tuple[bytes, int]:
    """Return the key of the record at `at`, and where it ends.

    Raises `Unreadable` where no record of that kind can be there, or `Unfinished`.
    """
    size = len(data)
    key_start = at + START.size
    if key_start > size:
        raise Unfinished
    found, length = START.unpack_from(data, at)
    if found != kind or not length:
        raise Unreadable(at, "a record with a key", data[at:key_start])
    key_end = key_start + length
    value = key_end + -length % ALIGN + WORD.size
    if value > size:
        raise Unfinished
    (length,) = WORD.unpack_from(data, value - WORD.size)
    value_end = value + length
    pointers = value_end + -length % ALIGN
    if pointers > size:
        raise Unfinished
    if data[key_end : value - WORD.size].strip(b"\0") or data[value_end:pointers].strip(b"\0"):
        raise Unreadable(at, "zeros behind a key and a value")
    return data[key_start:key_end], pointers_end(data, pointers)


def value_of(data: bytes, at: int, key_length: int) -> bytes:
    """Return the value of the record at `at`, which is whole."""
    start = value_at(at, key_length)
    (length,) = WORD.unpack_from(data, start - WORD.size)
    return data[start : start + length]


def pointers_end(data: bytes, at: int) -> int:
    """Return where the pointers that start at `at` end with their padding.

    Raises `Unreadable` or `Unfinished`.
    """
    limit = at + LONGEST_POINTERS
    found = data.find(PADDING, at, limit)
    end = min(limit, len(data)) if found < 0 else found
    is_padding = found > at and not (found - at) % ALIGN
    is_rubbish = data[at + ALIGN - 1 : end : ALIGN].strip(LAST_BYTES)
    if is_rubbish or (found >= 0 and not is_padding):
        raise Unreadable(at, "pointers")
    if found < 0:
        if end == limit:
            raise Unreadable(at, f"at most {MAX_LEVEL} pointers")
        raise Unfinished
    return end + len(PADDING)


#: As much as a header and the dummy record take at most.
HEAD_SIZE = DUMMY_AT + len(DUMMY_START) + LONGEST_POINTERS


def head_of_file(raw: bytes) -> tuple[Header, int]:
    """Return the header of a file that starts with `raw`, and where its dummy record ends.

    Raises `Unreadable` or `Unfinished`.
    """
    if len(raw) < HEADER.size or not raw.startswith(MAGIC):
        raise Unreadable(0, "a skiplist header", raw[: HEADER.size])
    header = Header._make(HEADER.unpack_from(raw))
    if header.version != VERSION:
        raise Unreadable(VERSION_AT, f"version {VERSION}")
    end = dummy_end(raw, header.maxlevel)
    if end is None or header.curlevel > header.maxlevel:
        raise Unreadable(DUMMY_AT, f"a dummy record of {header.maxlevel} levels")
    return header, end


def dummy_end(data: bytes, levels: int) -> Optional[int]:
    """Return where the dummy record ends, or None where it is not one of so many levels.

    Raises `Unreadable` or `Unfinished` as `pointers_end` does.
    """
    pointers = DUMMY_AT + len(DUMMY_START)
    end = pointers_end(data, pointers)
    is_whole = end == pointers + levels * WORD.size + len(PADDING)
    return end if is_whole and data.startswith(DUMMY_START, DUMMY_AT) else None


class Log(abc.ABC):
    """The transactions in `data`, which stands at `base` in the file.

    Offsets count from `base`. A step of a transaction is the offset of an ADD twice, or that of a
    DELETE and that of the record deleted.
    """

    def __init__(self, data: bytes, base: int = 0) -> None:
        self._data = data
        self._base = base
        #: The key of each record met, by its offset, dead ones too.
        self.keys: dict[int, bytes] = {}
        #: Where the last transaction ends.
        self.committed = 0

    @abc.abstractmethod
    def apply(self, transaction: list[tuple[int, int]]) -> None:
        """Take a committed transaction for one."""

    def key_before(self, at: int, offset: int) -> bytes:
        """Return the key of a record that was not met, which the DELETE at `at` names.

        Raises `Unreadable` where there is none.
        """
        raise Unreadable(at, "the offset of a record", self._data[at : at + START.size])

    def read_transactions(self, at: int) -> None:
        """Apply each transaction from `at` on that has its COMMIT; raises `Unreadable`."""
        data, size = self._data, len(self._data)
        #: What the transaction under way does.
        pending: list[tuple[int, int]] = []
        while at + WORD.size <= size:
            (kind,) = WORD.unpack_from(data, at)
            try:
                if kind == ADD:
                    pending.append((at, at))
                    self.keys[at], at = key_and_end(data, at, ADD)
                elif kind == DELETE:
                    pending.append((at, self._deleted(at)))
                    at += START.size
                elif kind == COMMIT:
                    self.apply(pending)
                    pending.clear()
                    at += WORD.size
                    self.committed = at
                elif kind == 0:
                    at = self._zeros_end(at, bool(pending))
                else:
                    raise Unreadable(at, "a type of record", data[at : at + WORD.size])
            except Unfinished:
                if _COMMITTED.search(data, at + START.size):
                    raise Unreadable(at, "a whole record, as a commit follows") from None
                return

    def _zeros_end(self, at: int, in_transaction: bool) -> int:
        """Return where zeros end; crashes, and repairs by old versions, leave some."""
        found = _NOT_ZERO.search(self._data, at)
        if found is None:
            return len(self._data)
        if in_transaction:
            raise Unreadable(at, "a type of record, as the transaction goes on")
        return found.start() // ALIGN * ALIGN

    def _deleted(self, at: int) -> int:
        """Return the offset of the record that the DELETE at `at` is about."""
        if at + START.size > len(self._data):
            raise Unfinished
        offset: int = START.unpack_from(self._data, at)[1] - self._base
        if offset not in self.keys:
            self.keys[offset] = self.key_before(at, offset)
        return offset
