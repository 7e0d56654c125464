"""The plain reader of twom, which defines what is right (lib/twom.c).

Read as a log: a writer appends records behind current_size and moves it once the transaction is
on the disk, so whatever stands before it is complete and never changes, but for the pointers in
the heads of old records and the checksum over them. Hence the result is one committed state
however busy the writer is, without a lock. The pointers are never followed.

A head whose checksum fails may be one that is being rewritten and is read again; where it does not
settle the file is damaged, because a right tail says nothing of how many pointers come before it.
A tail whose checksum fails makes its record a problem, unless a later record names it as the one it
supersedes. Files made with the NULL checksum have nothing to check: damage in them shows only where
it breaks the log or the number of records.
"""

from __future__ import annotations

import os
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
    opened,
)
from cyrusquota.cyrusdb.twom import layout, records
from cyrusquota.errors import (
    AnyPath,
    DamagedDatabase,
    OnProblem,
    Place,
    UnsupportedBackend,
    printable,
    source_error,
)


@attrs.frozen
class _Header:
    generation: int
    num_records: int
    current_size: int
    flags: int


class Twom(Database):
    """A twom file as it was at one commit."""

    backend = "twom"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        try:
            with opened(path) as file:
                self._identity = identity(os.fstat(file.fileno()))
                self._header = self._read_header(file)
                check_presence(file.fileno(), self._header.current_size, path)
                file.seek(0)
                self._data = exactly(file, self._header.current_size)
                if len(self._data) < self._header.current_size:
                    self._fail(len(self._data), f"{self._header.current_size} committed bytes")
                self._live = self._live_records(file)
        except OSError as error:
            raise source_error(error, path) from error

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        data = self._data
        for key, at in self._live.items():
            head = records.head_at(data, at)
            yield key, data[head.value : head.value_end]

    def snapshot(self) -> Snapshot:
        header = self._header
        live, size = len(self._live), header.current_size
        return Snapshot(self.backend, size, live, header.generation, self._identity)

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _read_header(self, file: BinaryIO) -> _Header:
        if self._identity[2] == 0:
            return _Header(0, 0, 0, 0)
        raw, header = self._settled_header(file)
        version, known = header.version, layout.VERSION
        if version > known:
            raise self._unsupported(f"twom of version {version}, and this program knows {known}")
        if version != known:
            at = layout.VERSION_AT
            self._fail(at, f"version {known}", raw[at : at + 4])
        present = os.fstat(file.fileno()).st_size
        size, at = header.current_size, layout.CURRENT_SIZE_AT
        if size < layout.DUMMY_AT + layout.DUMMY_SIZE or size % layout.ALIGN or size > present:
            self._fail(at, f"a committed size within the file's {present} bytes", raw[at : at + 8])
        return _Header(header.generation, header.num_records, size, header.flags)

    def _settled_header(self, file: BinaryIO) -> tuple[bytes, layout.Header]:
        """Return the header once its checksum is right, or, without one, it was the same twice."""
        before = b""
        for _ in attempts(at_once=2):
            file.seek(0)
            raw = exactly(file, layout.HEADER.size)
            if not records.is_header(raw):
                self._fail(0, "a twom header", raw)
            if layout.Header._make(layout.HEADER.unpack(raw)).flags & layout.CSUM_EXTERNAL:
                raise self._unsupported("twom with checksums that only one program can check")
            header = records.checked_header(raw, before)
            if header is not None:
                break
            before = raw
        else:
            self._fail(layout.CHECKSUM_AT, "the checksum of the header", raw[layout.CHECKSUM_AT :])
        return raw, header

    def _unsupported(self, what: str) -> UnsupportedBackend:
        where = printable(os.path.abspath(self.path))
        return UnsupportedBackend(
            f"{where}: {what};"
            f" dump it with: cyr_dbtool {where} twom show | cyrusquota-export --dump - ..."
        )

    def _live_records(self, file: BinaryIO) -> dict[bytes, int]:
        """Return where the live version of each key starts."""
        if not self._data:
            return {}
        log = _Log(self._data, file, self._header.flags)
        try:
            log.read()
        except Unreadable as broken:
            self._fail(broken.offset, broken.expected)
        for at in log.damaged:
            head = records.head_at(self._data, at)
            expected = "the checksum of the live record"
            if self._data[head.key_end]:
                expected = "a NUL behind the key (before 2026 keys of 64 KiB were cut)"
            self._report(at, expected, self._data[head.key : head.key_end])
        if len(log.live) + len(log.damaged) != self._header.num_records:
            self._report(
                layout.NUM_RECORDS_AT,
                f"{self._header.num_records} live records, as the header has",
                None,
            )
        return log.live

    def _report(self, offset: int, expected: str, key: Optional[bytes]) -> None:
        place = Place(str(self.path), offset=offset, key=key)
        self._on_problem(
            DamagedDatabase(expected, place=place, advice=RESTORE if key is None else SET_LIMIT)
        )

    def _fail(self, offset: int, expected: str, found: Optional[bytes] = None) -> NoReturn:
        place = Place(str(self.path), offset=offset)
        raise DamagedDatabase(expected, place=place, found=found, advice=RESTORE)


class _Log:
    """The records of a file in the order they were written.

    `live` has the offset of the last version of each key, `damaged` the offsets of records whose
    key and value are not to be trusted and that nothing is known to have superseded.
    """

    def __init__(self, data: bytes, file: BinaryIO, flags: int) -> None:
        self._data = data
        self._file = file
        self._flags = flags
        self.live: dict[bytes, int] = {}
        self.damaged: dict[int, None] = {}

    def read(self) -> None:
        """Find out what is live; raises `Unreadable`."""
        again = records.settled(self._file.fileno(), self._flags)
        for at, head in records.checked(self._data, layout.DUMMY_AT, self._flags, again):
            if head.kind in layout.STORES:
                self._store(at, head)
            elif head.kind == layout.DELETE:
                self._supersede(at, records.ancestor(self._data, at, head))

    def _store(self, at: int, head: records.Head) -> None:
        ancestor = records.ancestor(self._data, at, head)
        if records.tail_is_right(self._flags, self._data, head):
            self.damaged.pop(ancestor, None)
            self.live[self._data[head.key : head.key_end]] = at
        else:
            if ancestor and records.kind_at(self._data, ancestor) != layout.DELETE:
                self._supersede(at, ancestor)
            self.damaged[at] = None

    def _supersede(self, at: int, ancestor: int) -> None:
        """Note that the key of the record at `ancestor` is gone, as the one at `at` says."""
        if ancestor in self.damaged:
            del self.damaged[ancestor]
            return
        if ancestor < at and records.kind_at(self._data, ancestor) in layout.STORES:
            head = records.head_at(self._data, ancestor)
            key = self._data[head.key : head.key_end]
            if self.live.get(key) == ancestor:
                del self.live[key]
                return
        raise Unreadable(at, f"a live record at the offset {ancestor} that it names")
