"""Look up single keys of a twom file; the plain reader defines what is right.

The checksum over the head of each record on the way proves its pointers, and the one over its tail
its key and value. Records are as of the current_size of the header: of the two pointers of the
lowest list one leads to what was committed then, and what lists above lead to beyond it is passed
over. Whatever is unusual (damage, a file without checksums or with an order of its own) is left to
the plain reader.
"""

from __future__ import annotations

import os
from typing import AbstractSet, Optional

from cyrusquota.cyrusdb import skip_list
from cyrusquota.cyrusdb.database import Unreadable
from cyrusquota.cyrusdb.selection import FastPathUnsupported
from cyrusquota.cyrusdb.skip_list import Node, SkipList, Values
from cyrusquota.cyrusdb.twom import layout, records
from cyrusquota.errors import AnyPath

_UNPROVEN = layout.CSUM_NULL | layout.CSUM_EXTERNAL | layout.ORDER_EXTERNAL


def lookup(path: AnyPath, keys: AbstractSet[bytes]) -> Optional[Values]:
    """Return the value of each key, None where there is none, or None if the plain reader decides.

    Raises nothing.
    """
    return skip_list.lookup(path, keys, _List)


class _List(SkipList):
    orders = (bytes,)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._header = _header(descriptor)
        self._end = self._header.current_size
        self._nodes: dict[int, tuple[int, int, Node]] = {}

    def is_current(self) -> bool:
        now, then = _header(self.descriptor), self._header
        return (now.generation, now.current_size) == (then.generation, then.current_size)

    def first(self) -> Node:
        return self._node(layout.DUMMY_AT)[2]

    def next(self, node: Node, level: int) -> Optional[Node]:
        at = node.following[level]
        if at == 0 or (level and at >= self._end):
            return None
        kind, dead, behind = self._node(at)
        if kind == layout.DELETE and level == 0:
            # What it names stays in the lists, so that they lead on from there.
            kind, _, behind = self._node(dead)
            behind = behind._replace(value=None)
        if kind not in layout.STORES:
            raise FastPathUnsupported
        return behind

    def _node(self, at: int) -> tuple[int, int, Node]:
        """Return the type of the record at `at`, what it supersedes, and what it has.

        Its checksums are right.
        """
        if at not in self._nodes:
            self._nodes[at] = self._read(at)
        return self._nodes[at]

    def _read(self, at: int) -> tuple[int, int, Node]:
        flags = self._header.flags
        for data in skip_list.beginnings(self.descriptor, at, self._end):
            try:
                head = records.head_at(data, 0)
            except Unreadable:
                if at + len(data) < self._end:
                    continue
                raise
            break
        stored = records.stored_checksums(data, head)
        if (head.kind == layout.DUMMY) != (at == layout.DUMMY_AT):
            raise Unreadable(at, "a type of record")
        if records.checksum_of(flags, data[: head.checksums]) != stored[0]:
            raise Unreadable(at, "the checksum of a record's head")
        if head.kind in layout.STORES and not records.tail_is_right(flags, data, head):
            raise Unreadable(at, "the checksum of a record")
        key, value = data[head.key : head.key_end], data[head.value : head.value_end]
        node = Node(at, key, value, self._next(data, head))
        return head.kind, records.ancestor(data, 0, head), node

    def _next(self, data: bytes, head: records.Head) -> tuple[int, ...]:
        """Return what follows in each list.

        Two alternatives are kept for the lowest, of which the older stays right until the commit of
        the newer.
        """
        if head.kind not in layout.STORES and head.kind != layout.DUMMY:
            return ()
        places = range(head.pointers, head.checksums, layout.LONG.size)
        if len(places) < 2:
            raise FastPathUnsupported
        first, second, *above = (layout.LONG.unpack_from(data, at)[0] for at in places)
        lowest = max((at for at in (first, second) if at < self._end), default=self._end)
        return lowest, *above


def _header(descriptor: int) -> layout.Header:
    raw = os.pread(descriptor, layout.HEADER.size, 0)
    if not records.is_header(raw):
        raise FastPathUnsupported
    if layout.Header._make(layout.HEADER.unpack(raw)).flags & _UNPROVEN:
        raise FastPathUnsupported
    header = records.checked_header(raw)
    if header is None:
        raise Unreadable(layout.CHECKSUM_AT, "the checksum of the header")
    size, present = header.current_size, os.fstat(descriptor).st_size
    if header.version != layout.VERSION or size % layout.ALIGN or size > present:
        raise FastPathUnsupported
    return header
