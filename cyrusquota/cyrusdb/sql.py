"""sql with SQLite: one table of a database file, key and data (lib/cyrusdb_sql.c).

Where Cyrus finds the file locked it does not wait: its write fails, and 3.6.1 even crashes. So no
lock is taken here, not even SQLite's shared one. The file is read as it lies, and that counts if
nobody wrote meanwhile: a writer has a journal beside the file from before its first write to it
until its commit, and a commit renews the change counter and the times of the file, so no journal
and no change, before and after, prove that one state was read. Until that comes about the file is
read again, for some seconds.

PostgreSQL and MySQL have no file to read; `cyr_dbtool ... sql show` dumps them.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Iterator
from urllib.parse import quote

from cyrusquota.cyrusdb.database import (
    SQLITE_MAGIC,
    Database,
    Identity,
    Snapshot,
    TablePath,
    differs,
    identity,
    opened,
    table_name,
)
from cyrusquota.errors import (
    AnyPath,
    CyrusQuotaError,
    DamagedDatabase,
    NoSuchSource,
    OnProblem,
    Place,
    SourceError,
    printable,
    source_error,
)

if TYPE_CHECKING:
    import sqlite3

# The table (lib/cyrusdb_sql.c): no index, no primary key, and the type of a column binds nobody.
_COLUMNS = [b"data", b"dbkey"]
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
#: Cyrus reads both columns as text, whatever is in them; the last of two rows is the newer.
_CALCULATED = "SELECT count(*) FROM pragma_table_xinfo(CAST(? AS TEXT)) WHERE hidden > 1"
_ROWS = 'SELECT CAST(dbkey AS TEXT), CAST(data AS TEXT) FROM "{}" ORDER BY rowid'

# The file (https://www.sqlite.org/fileformat2.html).
#: The change counter is in there.
_HEADER_SIZE = 100
#: What lies beside the file while it is being written to, or after a writer was killed.
_WRITING = ("-journal", "-wal")

#: Seconds to wait for a moment in which nobody writes, and between two looks.
_PATIENCE, _PAUSE = 10.0, 0.002
#: What SQLite says of anything but the data.
_NOT_THE_DATA = ("unable to open", "disk i/o", "out of memory")
_RESTORE = "check it with `sqlite3 FILE 'PRAGMA integrity_check'`, or restore it from a backup"


class Sql(Database):
    """A table of a SQLite file as it was at one commit.

    `path` may be a `TablePath`. By default the table is the one that Cyrus would take, which is
    called like the file, or else the only one that has the columns.
    """

    backend = "sql"

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        super().__init__(path, on_problem)
        named = [path.table] if isinstance(path, TablePath) else []
        self._is_only = isinstance(path, TablePath) and path.is_only
        self._tables = list(
            map(os.fsencode, named if self._is_only else [table_name(path), *named])
        )
        self._identity, header = _state(path)
        self._size = self._identity[2]
        self._records: dict[bytes, bytes] = {}
        if not self._size:
            return
        if not header.startswith(SQLITE_MAGIC):
            place = Place(str(path), offset=0)
            raise DamagedDatabase("a SQLite header", place=place, found=header, advice=_RESTORE)
        self._read_at_rest()

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._records.items())

    def snapshot(self) -> Snapshot:
        return Snapshot(self.backend, self._size, len(self._records))

    def has_changed(self) -> bool:
        return differs(self.path, self._identity)

    def _read_at_rest(self) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            before = _state(self.path)
            problem = None
            if not self._is_being_written():
                try:
                    self._records = self._read()
                except CyrusQuotaError as error:
                    problem = error
                if _state(self.path) == before and not self._is_being_written():
                    self._identity = before[0]
                    break
            if time.monotonic() > until:
                raise self._never_at_rest()
            time.sleep(_PAUSE)
        if problem is not None:
            raise problem

    def _is_being_written(self) -> bool:
        return any(os.path.exists(os.fspath(self.path) + suffix) for suffix in _WRITING)

    def _never_at_rest(self) -> SourceError:
        where = printable(str(self.path))
        return SourceError(
            f"{where}: locked by a writer for longer than {_PATIENCE:g} seconds; try again later,"
            f" or if no process has it open, let `cyr_dbtool {where} sql show` roll back what a"
            " killed one left"
        )

    def _read(self) -> dict[bytes, bytes]:
        import sqlite3

        where = f"file:{quote(os.fsencode(os.path.abspath(self.path)))}?mode=ro&immutable=1"
        try:
            with contextlib.closing(sqlite3.connect(where, uri=True)) as source:
                source.text_factory = bytes
                return self._rows(source)
        except ValueError as error:
            # The name of a table, or a message of SQLite's, with what is no text in it.
            raise self._damaged("a readable schema") from error
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def _rows(self, source: sqlite3.Connection) -> dict[bytes, bytes]:
        pages, page_size = (
            source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
        if _state(self.path)[0][2] % page_size:
            # SQLite would fill up the last page with zeros and say nothing.
            raise self._damaged(f"whole pages of {page_size} bytes")
        self._size = room = pages * page_size
        records = {}
        found = self._found_table(source)
        if source.execute(_CALCULATED, (found,)).fetchone()[0]:
            raise self._damaged("a table whose columns are stored, not calculated")
        table = found.decode("utf-8", "surrogateescape").replace('"', '""')
        for key, data in source.execute(_ROWS.format(table)):
            records[key] = data or b""
            # Damaged pages may lead to one another again and again.
            room -= len(key or b"") + len(data or b"") + 1
            if room < 0:
                raise self._damaged("less data than the file has room for")
        records.pop(None, None)
        return records

    def _found_table(self, source: sqlite3.Connection) -> bytes:
        tables = [name for (name,) in source.execute(_TABLES)]
        for wanted in self._tables:
            for name in tables:
                if name.lower() == wanted.lower():
                    return bytes(name)
        fitting = [name for name in tables if self._columns(source, name) == _COLUMNS]
        if len(fitting) == 1 and not self._is_only:
            return bytes(fitting[0])
        names = ", ".join(printable(name) for name in tables) or "none"
        raise NoSuchSource(
            f"{printable(str(self.path))}: expected a table {printable(self._tables[-1])} with the"
            f" columns dbkey and data, found {names}; name the file that imapd.conf names"
        )

    def _columns(self, source: sqlite3.Connection, table: bytes) -> list[bytes]:
        rows = source.execute(
            "SELECT name FROM pragma_table_info(CAST(? AS TEXT))", (table,)
        ).fetchall()
        return sorted(name.lower() for (name,) in rows)

    def _problem(self, error: sqlite3.Error) -> CyrusQuotaError:
        text = printable(str(error))
        if any(part in text.lower() for part in _NOT_THE_DATA):
            where = printable(str(self.path))
            return SourceError(f"{where}: cannot be read: {text}; look into the kernel's log")
        return self._damaged(f"a sound SQLite file ({text})")

    def _damaged(self, expected: str) -> DamagedDatabase:
        return DamagedDatabase(expected, place=Place(str(self.path)), advice=_RESTORE)


def _state(path: AnyPath) -> tuple[Identity, bytes]:
    """Return what a commit changes: the identity of the file, and the change counter."""
    try:
        with opened(path) as file:
            return identity(os.fstat(file.fileno())), file.read(_HEADER_SIZE)
    except OSError as error:
        raise source_error(error, path) from error
