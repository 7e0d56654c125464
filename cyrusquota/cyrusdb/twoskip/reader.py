"""The plain reader of twoskip, which defines what is right (lib/cyrusdb_twoskip.c).

Read as a log, not along its pointers: a writer appends records and moves the header's
current_size past them when the transaction is committed, so everything before current_size is
complete and never changes, but for the pointers at the head of old records and the checksum over
them. Hence the result is one committed state however busy the writer is, without a lock.

Only where a checksum fails are the pointers followed (`_chain`), because they tell which of the
records are live: damage in a superseded record matters to nobody, damage in a live one is
reported, and where the pointers lead nowhere the rest is left out. Only records with valid
checksums are returned.
"""

from __future__ import annotations

import os
from array import array
from itertools import compress
from operator import lt
from typing import BinaryIO, Iterator, NoReturn, Optional

import attrs

from cyrusquota.cyrus.repairs import RESTORE, SET_LIMIT
from cyrusquota.cyrusdb.database import (
    Database,
    Snapshot,
    Unreadable,
    attempts,
    check_presence,
    differs,
    exactly,
    identity,
    mailbox_order,
    opened,
)
from cyrusquota.cyrusdb.twoskip import deletions, layout, records
from cyrusquota.errors import AnyPath, DamagedDatabase, OnProblem, Place, source_error


@attrs.frozen
class _Header:
    """What counts of the header; `num_records` is None while a writer is at work."""

    generation: int
    num_records: Optional[int]
    current_size: int


class Twoskip(Database):
    """A twoskip file as it was at one commit."""

    backend = "twoskip"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        try:
            with opened(path) as file:
                self._identity = identity(os.fstat(file.fileno()))
                header = self._read_header(file)
                self._header = header
                check_presence(file.fileno(), header.current_size, path)
                file.seek(0)
                self._data = exactly(file, header.current_size)
                if len(self._data) < header.current_size:
                    self._fail(len(self._data), f"{header.current_size} committed bytes")
                self._live = self._live_records(file)
        except OSError as error:
            raise source_error(error, path) from error

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        data = self._data
        for at in self._live:
            head = records.head_at(data, at)
            yield data[head.key : head.value], data[head.value : head.tail]

    def snapshot(self) -> Snapshot:
        header = self._header
        live, size = len(self._live), header.current_size
        return Snapshot(self.backend, size, live, header.generation, self._identity)

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _read_header(self, file: BinaryIO) -> _Header:
        if self._identity[2] == 0:
            return _Header(0, 0, 0)
        for _ in attempts():
            file.seek(0)
            raw = exactly(file, layout.HEADER.size)
            if not records.is_header(raw):
                self._fail(0, "a twoskip header", raw)
            header = records.checked_header(raw)
            if header is not None:
                break
        else:
            self._fail(layout.CRC_AT, "the checksum of the header", raw[layout.CRC_AT :])
        if header.version != layout.VERSION:
            at = layout.VERSION_AT
            self._fail(at, f"version {layout.VERSION}", raw[at : at + 4])
        present = os.fstat(file.fileno()).st_size
        size, at = header.current_size, layout.CURRENT_SIZE_AT
        if size < layout.HEADER.size or size % layout.ALIGN or size > present:
            self._fail(at, f"a committed size within the file's {present} bytes", raw[at : at + 8])
        # A writer counts a replaced record off before it marks the header dirty.
        known = None if header.flags & layout.DIRTY else header.num_records
        return _Header(header.generation, known, size)

    def _live_records(self, file: BinaryIO) -> list[int]:
        """Return where the live version of each key starts."""
        if not self._data:
            return []
        logged: Optional[list[int]] = None
        try:
            logged = self._log(records.settled(file.fileno()))
            if self._header.num_records in (None, len(logged)):
                return logged
            expected = f"{self._header.num_records} live records, as the header has"
            problem = Unreadable(layout.NUM_RECORDS_AT, expected)
        except Unreadable as unreadable:
            problem = unreadable
        return self._chain(problem, logged)

    def _log(self, settle: records.Settle) -> list[int]:
        """Return the live records that the log has, in the order of keys that fits the pointers.

        Which key a deletion means depends on the order, and what would tell the two orders apart
        may be gone with the deleted keys. Then the pointers have to confirm one of the results.
        """
        log = _Log(self._data, settle)
        if not log.has_deletions:
            return log.last()
        known = False if log.has_one_order() else _order_of(self._data)
        if known is not None:
            return log.live(in_mailbox_order=known)
        found = [log.live(in_mailbox_order=order) for order in (False, True)]
        if found[0] == found[1]:
            return found[0]
        doubt = Unreadable(layout.DUMMY_AT, "keys in byte order or in mailbox order")
        reached = sorted(self._chain(doubt, None))
        for candidate in found:
            if candidate == reached:
                return candidate
        self._fail(doubt.offset, doubt.expected)
        return []

    def _chain(self, problem: Unreadable, logged: Optional[list[int]]) -> list[int]:
        """Return the live records by following the pointers, each step proven by checksums.

        Raises for what the pointers cannot settle either: `problem`, unless the header alone is
        wrong about the number of records.
        """
        data, live, bad = self._data, list[int](), 0
        keys, seen = set[bytes](), set[int]()
        at = layout.DUMMY_AT
        while at:
            try:
                head = records.checked_head(data, at, None)
            except Unreadable as broken:
                if not live:
                    self._fail(problem.offset, problem.expected)
                expected = f"{broken.expected}; all keys behind it are lost"
                self._report(broken.offset, expected, live, RESTORE)
                return live
            key = data[head.key : head.value]
            if at in seen or (head.kind == layout.RECORD and key in keys):
                self._fail(at, "a chain of records that has each key once", key)
            seen.add(at)
            if head.kind == layout.RECORD:
                keys.add(key)
                if records.tail_is_right(data, head):
                    live.append(at)
                else:
                    bad += 1
                    self._report(at, "the checksum of the live record", [at], SET_LIMIT)
            elif head.kind != layout.DELETE and at != layout.DUMMY_AT:
                self._fail(at, "a live record")
            at = records.next_record(data, head, len(data))
        is_whole = self._header.num_records in (None, len(live) + bad)
        if not is_whole and sorted(live) != sorted(logged or ()):
            self._fail(problem.offset, problem.expected)
        return live

    def _report(self, offset: int, expected: str, near: list[int], advice: str) -> None:
        head = records.head_at(self._data, near[-1])
        key = self._data[head.key : head.value]
        place = Place(str(self.path), offset=offset, key=key)
        self._on_problem(DamagedDatabase(expected, place=place, advice=advice))

    def _fail(self, offset: int, expected: str, found: Optional[bytes] = None) -> NoReturn:
        place = Place(str(self.path), offset=offset)
        raise DamagedDatabase(expected, place=place, found=found, advice=RESTORE)


#: From `.` on, which comes first in mailbox order, bytes compare the same in both.
_SAME_IN_BOTH = bytes(range(ord("."), 256))


class _Log:
    """The records of a file in the order they were written; raises `Unreadable`."""

    def __init__(self, data: bytes, settle: records.Settle) -> None:
        self._keys: list[bytes] = []
        self._starts = array("q")
        #: How many records come before each deletion, and where the one starts that it names: any
        #: number of 64 bits, if the file is bad.
        self._before, self._behind = array("q"), array("Q")
        for at, head in records.checked(data, layout.DUMMY_AT, settle):
            if head.kind == layout.RECORD:
                self._keys.append(data[head.key : head.value])
                self._starts.append(at)
            elif head.kind == layout.DELETE:
                self._before.append(len(self._keys))
                self._behind.append(records.pointer(data, head, 0))

    @property
    def has_deletions(self) -> bool:
        return bool(self._behind)

    def has_one_order(self) -> bool:
        """Return whether byte order and mailbox order are the same for these keys."""
        if not b"".join(self._keys).translate(None, _SAME_IN_BOTH):
            return True
        keys = sorted(dict.fromkeys(self._keys), key=mailbox_order)
        return all(map(lt, keys, keys[1:]))

    def last(self) -> list[int]:
        """Return where the last version of each key starts."""
        return list(dict(zip(self._keys, self._starts)).values())

    def live(self, *, in_mailbox_order: bool) -> list[int]:
        """Return where the last version of each key that was not deleted starts, sorted."""
        keys, starts = self._keys, self._starts
        # What a repack wrote is in order, and quick to sort as it stands.
        order = sorted(dict.fromkeys(keys), key=mailbox_order if in_mailbox_order else None)
        place = dict(zip(order, range(len(order))))
        named = set(self._behind)
        is_named = map(named.__contains__, starts)
        record_at = {starts[record]: record for record in compress(range(len(starts)), is_named)}
        record_at[0] = deletions.END
        for behind in named.difference(record_at):
            raise Unreadable(behind, "the record behind a deleted one")
        live = deletions.live_records(
            array("q", map(place.__getitem__, keys)),
            len(order),
            self._before,
            array("q", map(record_at.__getitem__, self._behind)),
        )
        return sorted(map(starts.__getitem__, filter((0).__le__, live)))


def _order_of(data: bytes) -> Optional[bool]:
    """Return whether the database is in mailbox order; None where nothing tells.

    Pointers only ever lead to greater keys, so any two records that follow one another and that
    the two orders disagree about decide it.
    """
    at = layout.DUMMY_AT
    while at < len(data):
        if data.startswith(layout.BLANK, at):
            at += len(layout.BLANK)
            continue
        head = records.head_at(data, at)
        for index in range(head.level + 1 if head.kind == layout.RECORD else 0):
            target = records.pointer(data, head, index)
            if layout.DUMMY_AT < target < len(data):
                behind = records.head_at(data, target)
                if behind.kind == layout.RECORD:
                    key, greater = data[head.key : head.value], data[behind.key : behind.value]
                    if key > greater:
                        return True
                    if mailbox_order(key) > mailbox_order(greater):
                        return False
        at = head.end
    return None
