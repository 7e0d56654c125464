"""Look up single keys of a twoskip file; the plain reader defines what is right.

The checksum over the head of each record on the way proves its pointers, and the one over its tail
its key and value. Records are as of the current_size of the header: of the two pointers of the
lowest list one leads to what was committed then, and what lists above lead to beyond it is passed
over. Whatever is unusual (damage, a key for which byte order and mailbox order lead to different
answers and nothing on the way tells which one it is) is left to the plain reader.
"""

from __future__ import annotations

import os
from typing import AbstractSet, Optional

from cyrusquota.cyrusdb import skip_list
from cyrusquota.cyrusdb.database import Unreadable, mailbox_order
from cyrusquota.cyrusdb.selection import FastPathUnsupported
from cyrusquota.cyrusdb.skip_list import Node, SkipList, Values
from cyrusquota.cyrusdb.twoskip import layout, records
from cyrusquota.errors import AnyPath


def lookup(path: AnyPath, keys: AbstractSet[bytes]) -> Optional[Values]:
    """Return the value of each key, None where there is none, or None if the plain reader decides.

    Raises nothing.
    """
    return skip_list.lookup(path, keys, LiveRecords)


class LiveRecords(SkipList):
    """The records of an open file that are live."""

    orders = (bytes, mailbox_order)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._state = _state(descriptor)
        self._nodes: dict[int, tuple[int, Node]] = {}

    def is_current(self) -> bool:
        return _state(self.descriptor) == self._state

    def first(self) -> Node:
        return self._node(layout.DUMMY_AT)[1]

    def next(self, node: Node, level: int) -> Optional[Node]:
        at = node.following[level]
        if level and at >= self._end:
            return None
        if at == 0:
            return None
        kind, behind = self._node(at)
        if kind == layout.DELETE and level == 0 and behind.following[0]:
            # It stands in the place of what it deletes, and names what comes behind that.
            kind, behind = self._node(behind.following[0])
        elif kind == layout.DELETE and level == 0:
            return None
        if kind != layout.RECORD:
            raise FastPathUnsupported
        return behind

    def key_at(self, at: int) -> bytes:
        """Return the key of the record at `at`, live or not."""
        kind, node = self._node(at)
        if kind != layout.RECORD:
            raise FastPathUnsupported
        return node.key

    @property
    def _end(self) -> int:
        return self._state[1]

    def _node(self, at: int) -> tuple[int, Node]:
        """Return the type of the record at `at`, and what it has; its checksums are right."""
        if at not in self._nodes:
            self._nodes[at] = self._read(at)
        return self._nodes[at]

    def _read(self, at: int) -> tuple[int, Node]:
        for data in skip_list.beginnings(self.descriptor, at, self._end):
            try:
                head = records.head_at(data, 0)
            except Unreadable:
                if at + len(data) < self._end:
                    continue
                raise
            break
        if (head.kind == layout.DUMMY) != (at == layout.DUMMY_AT):
            raise Unreadable(at, "a type of record")
        records.checked_head(data, 0, None, at)
        if not records.tail_is_right(data, head):
            raise Unreadable(at, "the checksum of a record")
        above = (records.pointer(data, head, index) for index in range(2, head.level + 1))
        following = (records.next_record(data, head, self._end), *above)
        key, value = data[head.key : head.value], data[head.value : head.tail]
        return head.kind, Node(at, key, value, following)


def _state(descriptor: int) -> tuple[int, int]:
    """Return the generation, and where the last transaction ends."""
    raw = os.pread(descriptor, layout.HEADER.size, 0)
    if not records.is_header(raw):
        raise FastPathUnsupported
    header = records.checked_header(raw)
    if header is None:
        raise Unreadable(layout.CRC_AT, "the checksum of the header")
    size = header.current_size
    present = os.fstat(descriptor).st_size
    if header.version != layout.VERSION or size % layout.ALIGN or size > present:
        raise FastPathUnsupported
    return header.generation, size
