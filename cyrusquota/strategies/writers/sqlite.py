"""Writes SQLite databases as Cyrus does: a table without keys, text in both columns."""

from __future__ import annotations

import sqlite3
from pathlib import Path


class SqliteWriter:
    """A writer of a SQLite database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = "_".join(path.name.rsplit(".", 1))
        self._connection = self._opened()
        self._connection.execute(f"CREATE TABLE {self._table} (dbkey BLOB NOT NULL, data BLOB)")

    def begin(self) -> None:
        self._connection.execute("BEGIN TRANSACTION")

    def set(self, key: bytes, value: bytes) -> None:
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM {self._table} WHERE dbkey = CAST(? AS TEXT)", (key,)
        ).fetchone()
        if count:
            change = (
                f"UPDATE {self._table} SET data = CAST(? AS TEXT) WHERE dbkey = CAST(? AS TEXT)"
            )
        else:
            change = (
                f"INSERT INTO {self._table} (data, dbkey) VALUES (CAST(? AS TEXT), CAST(? AS TEXT))"
            )
        self._connection.execute(change, (value, key))

    def delete(self, key: bytes) -> None:
        self._connection.execute(f"DELETE FROM {self._table} WHERE dbkey = CAST(? AS TEXT)", (key,))

    def commit(self) -> None:
        self._connection.execute("COMMIT TRANSACTION")

    def abort(self) -> None:
        """What a killed process had under way is rolled back like this too."""
        self._connection.close()
        self._connection = self._opened()

    def repack(self) -> None:
        self._connection.execute("VACUUM")

    def close(self) -> None:
        self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None)
