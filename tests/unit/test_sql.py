"""SQLite databases, by real Cyrus and by hand, whole, damaged and locked."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import sql
from cyrusquota.cyrusdb.database import TablePath
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase, NoSuchSource, SourceError
from cyrusquota.strategies.writers.sqlite import SqliteWriter

_FIXTURES = Path(__file__).parent.parent / "fixtures"


def _read(path: Path) -> dict[bytes, bytes]:
    with cyrusdb.open(path, "sql") as db:
        return dict(db)


def _made(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotas.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "_PATIENCE", 0.05)


@pytest.fixture
def writer(path: Path) -> Iterator[SqliteWriter]:
    """A database that has one record, user.a."""
    with contextlib.closing(SqliteWriter(path)) as writer:
        writer.begin()
        writer.set(b"user.a", b"1 2")
        writer.commit()
        yield writer


@pytest.mark.parametrize("kind", ["main/sqlite", "badvalues/sql"])
def test_reads_what_cyrus_wrote(kind: str) -> None:
    shown = (_FIXTURES / kind / "text" / "cyr_dbtool-show.txt").read_bytes()
    expected = dict(line.split(b"\t", 1) for line in shown.splitlines())
    with cyrusdb.open(_FIXTURES / kind / "quotas.db") as db:
        assert dict(db) == expected
        assert db.snapshot() == cyrusdb.Snapshot("sql", 8192, len(expected))


def test_reading_leaves_nothing_behind(path: Path, writer: SqliteWriter) -> None:
    _read(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["quotas.db"]


def test_an_empty_file_is_an_empty_database(path: Path) -> None:
    path.touch()
    assert _read(path) == {}


def test_of_two_rows_for_a_key_the_last_counts(path: Path) -> None:
    _made(
        path,
        "CREATE TABLE quotas_db (dbkey BLOB NOT NULL, data BLOB)",
        "INSERT INTO quotas_db VALUES ('user.a', '1 2'), ('user.b', '3 4'), ('user.a', '5 6')",
    )
    assert _read(path) == {b"user.a": b"5 6", b"user.b": b"3 4"}


def test_any_type_of_column_reads_as_text_as_cyrus_reads_it(path: Path) -> None:
    _made(
        path,
        "CREATE TABLE quotas_db (dbkey BLOB NOT NULL, data BLOB)",
        "INSERT INTO quotas_db VALUES (x'75ff', x'ff00'), ('b', 12), (3, 1.5), ('n', NULL)",
    )
    assert _read(path) == {b"u\xff": b"\xff\0", b"b": b"12", b"3": b"1.5", b"n": b""}


@pytest.mark.parametrize("name", ["a?b#c%41 d&e.db", "quo'tas.db", "m\xfcller.db", "\udcff.db"])
def test_any_path_and_table_name_will_do(tmp_path: Path, name: str) -> None:
    table = name.rsplit(".", 1)[0] + "_db"
    made = tmp_path / "made"
    if "\udcff" in name:
        table = "x"
    _made(
        made,
        f'CREATE TABLE "{table}" (dbkey BLOB NOT NULL, data BLOB)',
        f"INSERT INTO \"{table}\" VALUES ('user.a', '1 2')",
        "CREATE TABLE other (dbkey BLOB NOT NULL, data BLOB)" if table != "x" else "SELECT 1",
    )
    made.rename(tmp_path / name)
    assert _read(tmp_path / name) == {b"user.a": b"1 2"}


def test_the_table_is_called_like_the_file_with_the_last_dot_replaced(tmp_path: Path) -> None:
    path = tmp_path / "quotas.old.db"
    rows = "(dbkey BLOB NOT NULL, data BLOB)"
    _made(
        path,
        *(f'CREATE TABLE "{name}" {rows}' for name in ("quotas_old_db", "quotas.old_db")),
        "INSERT INTO \"quotas.old_db\" VALUES ('user.a', '1 2')",
    )
    assert _read(path) == {b"user.a": b"1 2"}
    table = TablePath(str(path), "quotas_old_db", is_only=True)
    with sql.Sql(table, lambda problem: None) as db:
        assert dict(db) == {}


def test_the_only_table_with_the_columns_will_do(path: Path) -> None:
    _made(
        path,
        "CREATE TABLE other (a, b)",
        "CREATE TABLE renamed (DBKEY BLOB NOT NULL, DATA BLOB)",
        "INSERT INTO renamed VALUES ('user.a', '1 2')",
    )
    assert _read(path) == {b"user.a": b"1 2"}


def test_without_a_fitting_table_the_error_names_those_that_are_there(path: Path) -> None:
    columns = "(dbkey BLOB NOT NULL, data BLOB)"
    _made(path, f"CREATE TABLE mailboxes_db {columns}", f"CREATE TABLE annotations_db {columns}")
    with pytest.raises(NoSuchSource, match=r"quotas_db .* found mailboxes_db, annotations_db"):
        _read(path)


def test_a_database_without_tables_says_so(path: Path) -> None:
    _made(path, "CREATE TABLE gone (a)", "DROP TABLE gone")
    with pytest.raises(NoSuchSource, match="found none"):
        _read(path)


def test_a_name_that_is_no_text_is_damage(path: Path) -> None:
    _made(path, "CREATE TABLE renamed (dbkey BLOB NOT NULL, data BLOB)")
    path.write_bytes(path.read_bytes().replace(b"renamed", b"ren\xffmed"))
    with pytest.raises(DamagedDatabase, match="a readable schema"):
        _read(path)


def test_a_table_without_the_columns_is_damage(path: Path) -> None:
    _made(path, "CREATE TABLE quotas_db (a, b)")
    with pytest.raises(DamagedDatabase, match="no such column: dbkey"):
        _read(path)


def test_a_transaction_under_way_is_waited_for(
    path: Path, writer: SqliteWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.begin()
    writer.set(b"user.b", b"3 4")
    assert path.with_name("quotas.db-journal").exists()
    monkeypatch.setattr("time.sleep", lambda seconds: writer.commit())
    with cyrusdb.open(path) as db:
        assert dict(db) == {b"user.a": b"1 2", b"user.b": b"3 4"}
        assert not db.has_changed()


def test_a_transaction_that_does_not_end_is_an_error_that_says_so(
    path: Path, writer: SqliteWriter, impatient: None
) -> None:
    writer.begin()
    writer.set(b"user.b", b"3 4")
    with pytest.raises(SourceError, match="locked by a writer for longer than"):
        _read(path)


def test_reading_takes_no_lock(path: Path, writer: SqliteWriter) -> None:
    """Here no other reader of SQLite's would get in; nothing has been written yet."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        other = sqlite3.connect(path, timeout=0)
        with contextlib.closing(other), pytest.raises(sqlite3.OperationalError):
            other.execute("SELECT * FROM quotas_db")
        assert _read(path) == {b"user.a": b"1 2"}


def test_a_commit_while_it_is_read_makes_it_read_again(
    path: Path, writer: SqliteWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = sql.Sql._read, iter((True, False))

    def read(self: sql.Sql) -> dict[bytes, bytes]:
        records = real(self)
        if next(times):
            writer.begin()
            writer.set(b"user.b", b"3 4")
            writer.commit()
        return records

    monkeypatch.setattr(sql.Sql, "_read", read)
    with cyrusdb.open(path) as db:
        assert dict(db) == {b"user.a": b"1 2", b"user.b": b"3 4"}
        assert not db.has_changed()
    assert list(times) == []


def test_what_a_killed_writer_left_is_not_read_as_it_lies(
    path: Path, writer: SqliteWriter, impatient: None
) -> None:
    """A journal that is still to be played back: the pages of the file may be half written."""
    writer.begin()
    writer.set(b"user.b", b"3 4")
    journal = path.with_name("quotas.db-journal")
    copy = path.parent / "copy" / "quotas.db"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    copy.with_name("quotas.db-journal").write_bytes(journal.read_bytes())
    with pytest.raises(SourceError, match="roll back what a killed one left"):
        _read(copy)


def test_a_write_ahead_log_is_not_passed_over(
    path: Path, writer: SqliteWriter, impatient: None
) -> None:
    writer._connection.execute("PRAGMA journal_mode = WAL")
    writer.begin()
    writer.set(b"user.b", b"3 4")
    writer.commit()
    with pytest.raises(SourceError, match="locked by a writer"):
        _read(path)
    writer.close()
    assert _read(path) == {b"user.a": b"1 2", b"user.b": b"3 4"}


def test_changes_are_seen(path: Path, writer: SqliteWriter) -> None:
    with cyrusdb.open(path) as db:
        assert not db.has_changed()
        writer.begin()
        writer.set(b"user.b", b"3 4")
        writer.commit()
        assert db.has_changed()


def test_what_is_no_sqlite_file_is_damage(path: Path) -> None:
    path.write_bytes(b"user.a\t1 2\n")
    with pytest.raises(DamagedDatabase, match="a SQLite header"):
        _read(path)


def test_every_truncation_is_damage(path: Path, writer: SqliteWriter) -> None:
    data = path.read_bytes()
    for size in (*range(1, len(data), 61), len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DamagedDatabase):
            _read(path)


def test_flipped_bits_raise_nothing_undocumented(path: Path, impatient: None) -> None:
    data = (_FIXTURES / "main" / "sqlite" / "quotas.db").read_bytes()
    places = [at for at in range(len(data)) if data[at] or data[at - 1 : at] != b"\0"]
    chance = random.Random(1)
    for at in {*range(120), *chance.sample(places, 1500)}:
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        with contextlib.suppress(CyrusQuotaError):
            _read(path)


def test_no_file_is_no_such_source(path: Path) -> None:
    with pytest.raises(NoSuchSource):
        _read(path)
