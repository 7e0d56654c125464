"""Look up single keys of a skiplist file; the plain reader defines what is right.

The format has no checksums, so two ways have to come to the same record: the pointers, as Cyrus
goes, and the file itself: a bisection of its sorted run, and a search of the log for the bytes that
a record of the key and its deletion start with. Both are of a moment at which nobody writes, with a
log that ends with a commit. Whatever is unusual (the two differ, or the orders that the keys may be
in lead to different answers, a very large log) is left to the plain reader.
"""

from __future__ import annotations

import os
from typing import AbstractSet, Iterator, Optional

from cyrusquota.cyrusdb import skip_list
from cyrusquota.cyrusdb.database import Unreadable, identity, mailbox_order
from cyrusquota.cyrusdb.selection import FastPathUnsupported
from cyrusquota.cyrusdb.skip_list import Node, Order, SkipList, Values
from cyrusquota.cyrusdb.skiplist import layout, records
from cyrusquota.errors import AnyPath

#: How much of the log is searched at a time, and at most, once for each key.
_PIECE = 1 << 20
_MOST_SEARCHED = 1 << 30
#: The end of one record of the run and the start of the next, and in how much it is looked for.
_BETWEEN = layout.PADDING + layout.WORD.pack(layout.INORDER)
_PROBE = 1 << 13
#: Where the bisection gives way to reading one record after the other.
_WINDOW = 1 << 11
_SIGNED = bytes(byte ^ 0x80 for byte in range(256))


def lookup(path: AnyPath, keys: AbstractSet[bytes]) -> Optional[Values]:
    """Return the value of each key, None where there is none, or None if the plain reader decides.

    Raises nothing.
    """

    def opened(descriptor: int) -> _List:
        found = _List(descriptor)
        if found.log_size * len(keys) > _MOST_SEARCHED:
            raise FastPathUnsupported
        return found

    return skip_list.lookup(path, keys, opened)


def _signed_order(key: bytes) -> bytes:
    """Return what to sort by where the bytes are signed numbers, as on most processors."""
    return key.translate(_SIGNED)


class _List(SkipList):
    orders = (_signed_order, bytes, mailbox_order)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._then = os.fstat(descriptor)
        self._size = self._then.st_size
        self._head = os.pread(descriptor, records.HEAD_SIZE, 0)
        try:
            header, self._start = records.head_of_file(self._head)
        except records.Unfinished:
            raise FastPathUnsupported from None
        self._run_end = header.logstart
        if not self._start <= self._run_end <= self._size or self._run_end % layout.ALIGN:
            raise FastPathUnsupported
        self.log_size = self._size - self._run_end
        if self.log_size and not self._ends_with_commit():
            raise Unreadable(self._size, "a commit")
        self._nodes: dict[int, tuple[Node, int]] = {}

    def is_current(self) -> bool:
        return identity(os.fstat(self.descriptor)) == identity(self._then)

    def _ends_with_commit(self) -> bool:
        before = max(self._run_end, self._size - layout.START.size - layout.WORD.size)
        end = os.pread(self.descriptor, self._size - before, before)
        commit = layout.WORD.pack(layout.COMMIT)
        is_deletion = end.startswith(layout.WORD.pack(layout.DELETE)) and end.endswith(commit)
        return end.endswith(layout.PADDING + commit) or is_deletion or end == commit

    # By the pointers

    def first(self) -> Node:
        pointers = layout.DUMMY_AT + len(layout.DUMMY_START)
        return Node(layout.DUMMY_AT, b"", None, self._pointers(self._head, pointers, self._start))

    def next(self, node: Node, level: int) -> Optional[Node]:
        at = node.following[level]
        return self._node(at)[0] if at else None

    def _pointers(self, data: bytes, start: int, end: int) -> tuple[int, ...]:
        places = range(start, end - len(layout.PADDING), layout.WORD.size)
        return tuple(layout.WORD.unpack_from(data, at)[0] for at in places)

    def _node(self, at: int) -> tuple[Node, int]:
        """Return the record at `at`, which is as its rules have it, and where it ends."""
        if at not in self._nodes:
            self._nodes[at] = self._read(at)
        return self._nodes[at]

    def _read(self, at: int) -> tuple[Node, int]:
        if at < self._start or at % layout.ALIGN:
            raise Unreadable(at, "the offset of a record")
        kind = layout.INORDER if at < self._run_end else layout.ADD
        area_end = self._run_end if at < self._run_end else self._size
        for data in skip_list.beginnings(self.descriptor, at, area_end):
            try:
                key, end = records.key_and_end(data, 0, kind)
            except records.Unfinished:
                if at + len(data) < area_end:
                    continue
                raise Unreadable(at, "a whole record") from None
            break
        value = records.value_of(data, 0, len(key))
        pointers = layout.value_at(0, len(key)) + layout.padded(len(value))
        return Node(at, key, value, self._pointers(data, pointers, end)), at + end

    # By the order of the run, and the bytes of the log

    def find(self, key: bytes) -> Optional[Node]:
        node = super().find(key)
        live = self._last_change(key, self.agreed(lambda order: self._in_run(key, order)))
        if live != (None if node is None else node.at):
            raise FastPathUnsupported
        return node

    def _last_change(self, key: bytes, live: Optional[int]) -> Optional[int]:
        """Return where the live record of `key` starts, which is at `live` in the run."""
        additions = list(self._found(self._addition(key)))
        deletions = {
            at: offset
            for offset in filter(None, [live, *additions])
            for at in self._found(layout.START.pack(layout.DELETE, offset))
        }
        for at in sorted([*additions, *deletions]):
            if at in deletions and deletions[at] == live:
                live = None
            elif at not in deletions and live is None:
                live = at
            else:
                raise FastPathUnsupported
        return live

    @staticmethod
    def _addition(key: bytes) -> bytes:
        start = layout.START.pack(layout.ADD, len(key))
        return start + key.ljust(layout.padded(len(key)), b"\0")

    def _found(self, wanted: bytes) -> Iterator[int]:
        """Yield where the log has `wanted`, at the start of a record."""
        # A search for what begins with fewer zeros is faster.
        skipped = layout.WORD.size - 1
        pattern, start = wanted[skipped:], self._run_end
        while start < self._size:
            data = os.pread(self.descriptor, _PIECE + len(wanted), start)
            at = data.find(pattern)
            while at >= 0:
                is_start = at >= skipped and data.startswith(wanted, at - skipped)
                if is_start and at - skipped < _PIECE and not (at - skipped) % layout.ALIGN:
                    yield start + at - skipped
                at = data.find(pattern, at + 1)
            start += _PIECE

    def _in_run(self, key: bytes, order: Order) -> Optional[int]:
        """Return where the record of `key` in the run starts; None where there is none."""
        # A record starts at `low`, and so does one at `high`, or the run ends there; the first one
        # before `key`, if it is not the first of all.
        low, high, wanted = self._start, self._run_end, order(key)
        while high - low > _WINDOW:
            middle = self._boundary((low + high) // 2, high)
            if middle is None:
                break
            if order(self._node(middle)[0].key) < wanted:
                low = middle
            else:
                high = middle
        before = b""
        while low < self._run_end:
            node, end = self._node(low)
            if before:
                self.in_order(before, node.key)
            if order(node.key) >= wanted:
                return low if node.key == key else None
            before, low = node.key, end
        return None

    def _boundary(self, at: int, end: int) -> Optional[int]:
        """Return the first offset from `at` on where a record may start, or None up to `end`."""
        at -= at % layout.ALIGN
        data = os.pread(self.descriptor, min(_PROBE, end - at), at)
        found = data.find(_BETWEEN)
        while found >= 0 and found % layout.ALIGN:
            found = data.find(_BETWEEN, found + 1)
        if found < 0 and end - at > _PROBE:
            raise FastPathUnsupported
        return None if found < 0 else at + found + len(layout.PADDING)
