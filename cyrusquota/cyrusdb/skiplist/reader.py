"""The plain reader of skiplist, which defines what is right (lib/cyrusdb_skiplist.c).

Read as a log, not along its pointers: the records of the last checkpoint, in order, and behind
them the transactions since, each ended by a COMMIT. Keys, values and record sizes never change once
written, so what was committed before the file was read is right however busy the writer is,
without a lock. What follows the last COMMIT is a transaction under way, or one that a killed
writer left behind, and is dropped.

A checkpoint puts a new file in place and then cuts the old one to nothing; a reading that met this,
or an abort, is repeated.

The format has no checksums: a changed byte within a key or a value cannot be noticed, nor can the
loss of whole transactions at the end of the file. Everything that has a rule is held to it. Where
a record cannot be read, what follows it may have replaced any of the others, so nothing is
handed out: `DamagedDatabase` is raised. Only a log that can be read and contradicts itself about
single keys costs no more than those.
"""

from __future__ import annotations

import os
from typing import Iterator, NoReturn, Optional

from cyrusquota.cyrus.repairs import RECOVER
from cyrusquota.cyrusdb.database import (
    Database,
    Identity,
    Snapshot,
    Unreadable,
    attempts,
    check_presence,
    differs,
    identity,
    opened,
)
from cyrusquota.cyrusdb.skiplist import layout, records
from cyrusquota.errors import (
    AnyPath,
    DamagedDatabase,
    OnProblem,
    Place,
    SourceError,
    printable,
    source_error,
)

#: How often the file is read that is written to meanwhile.
_TRIES = 10


class Skiplist(Database):
    """A skiplist file as it was at one commit."""

    backend = "skiplist"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        for left in reversed(range(_TRIES)):
            self._data, self._identity, undisturbed = _reading(path)
            self._log = _Log(self._data)
            try:
                self._log.read()
                break
            except Unreadable as unreadable:
                if undisturbed or not left:
                    self._fail(unreadable)
        self._report_doubts()

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        data, value_of = self._data, records.value_of
        for key, at in self._log.live.items():
            yield key, value_of(data, at, len(key))

    def snapshot(self) -> Snapshot:
        log = self._log
        live, identity = len(log.live), self._identity
        return Snapshot(self.backend, log.committed, live, log.last_recovery, identity)

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _report_doubts(self) -> None:
        for key, (offset, expected) in self._log.doubts.items():
            self._log.live.pop(key, None)
            place = Place(str(self.path), offset=offset, key=key)
            self._on_problem(DamagedDatabase(expected, place=place, advice=RECOVER))

    def _fail(self, unreadable: Unreadable) -> NoReturn:
        place = Place(str(self.path), offset=unreadable.offset)
        raise DamagedDatabase(
            unreadable.expected, place=place, found=unreadable.found, advice=RECOVER
        ) from unreadable


def _reading(path: AnyPath) -> tuple[bytes, Identity, bool]:
    """Return all of the file at `path`, its identity just before, and whether nobody wrote.

    Read again where the file was written to, cut or replaced meanwhile: the copy may have come up
    short. Where it does nothing but grow the last copy is taken: all but its end is sure.
    """
    for attempt in attempts(_TRIES):
        try:
            with opened(path) as file:
                then = identity(os.fstat(file.fileno()))
                check_presence(file.fileno(), then[2], path)
                data = file.read()
                now = identity(os.stat(path))
        except OSError as error:
            raise source_error(error, path) from error
        has_grown = now[:2] == then[:2] and now[2] >= then[2] and len(data) >= then[2]
        if now == then or (has_grown and attempt == _TRIES - 1):
            return data, then, now == then
    raise SourceError(f"{printable(str(path))}: is being replaced all the time; try again later")


class _Log(records.Log):
    """The records of a file in the order they were written."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        #: Where the record of each live key starts.
        self.live: dict[bytes, int] = {}
        #: Keys whose last change does not fit what went before: where, and what was expected.
        self.doubts: dict[bytes, tuple[int, str]] = {}
        self.last_recovery: Optional[int] = None

    def read(self) -> None:
        """Find out what is live; raises `Unreadable`. An empty file is an empty database."""
        if not self._data or self._is_being_created():
            return
        at, log_start = self._start()
        keys, data, key_and_end = self.keys, self._data, records.key_and_end
        while at < log_start:
            try:
                keys[at], at = key_and_end(data, at, layout.INORDER)
            except records.Unfinished:
                raise Unreadable(at, "a whole record") from None
        if at != log_start:
            raise Unreadable(at, f"a record that ends where the log starts, at {log_start}")
        for offset in self.keys:
            self._set(offset)
        self.committed = at
        self.read_transactions(at)

    def _is_being_created(self) -> bool:
        """Return whether there is nothing yet but the header of an empty database."""
        data = self._data
        if len(data) != layout.HEADER.size or not data.startswith(layout.MAGIC):
            return False
        header = layout.Header._make(layout.HEADER.unpack(data))
        return (
            (header.version, header.maxlevel) == (layout.VERSION, layout.MAX_LEVEL)
            and not header.listsize
            and header.logstart == layout.EMPTY_SIZE
        )

    def _start(self) -> tuple[int, int]:
        """Return where the records and the log start."""
        data = self._data
        if len(data) < layout.HEADER.size or not data.startswith(layout.MAGIC):
            raise Unreadable(0, "a skiplist header", data[: layout.HEADER.size])
        header = layout.Header._make(layout.HEADER.unpack_from(data))
        if header.version != layout.VERSION:
            self._wrong_word(layout.VERSION_AT, f"version {layout.VERSION}")
        max_level, log_start = header.maxlevel, header.logstart
        if not 1 <= max_level <= layout.MAX_LEVEL or header.curlevel > max_level:
            self._wrong_word(layout.MAXLEVEL_AT, f"levels up to {layout.MAX_LEVEL}", words=2)
        dummy = layout.DUMMY_AT
        try:
            at = records.dummy_end(data, max_level)
        except records.Unfinished:
            raise Unreadable(dummy, "a whole dummy record") from None
        if at is None:
            raise Unreadable(dummy, f"a dummy record of {max_level} levels")
        if not at <= log_start <= len(data) or log_start % layout.ALIGN:
            expected = f"a start of the log within the file's {len(data)} bytes"
            self._wrong_word(layout.LOGSTART_AT, expected)
        self.last_recovery = header.last_recovery
        return at, log_start

    def _wrong_word(self, at: int, expected: str, words: int = 1) -> NoReturn:
        raise Unreadable(at, expected, self._data[at : at + words * layout.WORD.size])

    def apply(self, transaction: list[tuple[int, int]]) -> None:
        for at, offset in transaction:
            if at == offset:
                self._set(offset)
            else:
                self._delete(at, offset)

    def _set(self, offset: int) -> None:
        key = self.keys[offset]
        if key in self.live:
            self.doubts[key] = (offset, "a deletion before the key is added again")
        self.live[key] = offset

    def _delete(self, at: int, offset: int) -> None:
        key = self.keys[offset]
        if self.live.get(key) != offset:
            self.doubts[key] = (at, "the deletion of a live record")
            return
        del self.live[key]
        self.doubts.pop(key, None)
