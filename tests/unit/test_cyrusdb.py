"""Opening a database: which backend it is, and what is said where it cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from cyrusquota import cyrusdb
from cyrusquota.errors import (
    DamagedDatabase,
    NoSuchSource,
    OptionError,
    SourceForbidden,
    UnsupportedBackend,
)
from tests.recorded import TWOSKIP

MAGIC = b"\xa1\x02\x8b\x0d"


@pytest.mark.parametrize(
    ("start", "backend"),
    [
        (MAGIC + b"twoskip file\0\0\0\0", "twoskip"),
        (MAGIC + b"skiplist file\0\0\0", "skiplist"),
        (MAGIC + b"twomfile\0\0\0\0", "twom"),
        (b"SQLite format 3\0", "sql"),
        (b"\0" * 12 + b"\x00\x05\x31\x62", "berkeley"),
        (b"\0" * 12 + b"\x62\x31\x05\x00", "berkeley"),
        (b"\0" * 12 + b"\x00\x06\x15\x61", "berkeley-hash"),
        (b"\0" * 12 + b"\x61\x15\x06\x00", "berkeley-hash"),
        (b"user.jane\t5 1\n", None),
        (b"", None),
        (MAGIC + b"twoskip file", None),
    ],
)
def test_the_first_bytes_tell_the_backend(
    start: bytes, backend: Optional[str], tmp_path: Path
) -> None:
    path = tmp_path / "quotas.db"
    path.write_bytes(start)
    assert cyrusdb.guess(path) == backend


def test_a_directory_is_a_quotalegacy_tree(tmp_path: Path) -> None:
    assert cyrusdb.guess(tmp_path) == "quotalegacy"


@pytest.mark.parametrize("backend", [None, "twoskip", "skiplist", "flat", "quotalegacy"])
def test_magic_bytes_go_before_the_name(backend: Optional[str]) -> None:
    with cyrusdb.open(TWOSKIP / "quotas.db", backend) as db:
        assert db.backend == "twoskip"
        assert len(list(db)) == 57


@pytest.mark.parametrize(
    ("start", "backend"),
    [
        (MAGIC + b"skiplist file\0\0\0", "skiplist"),
        (MAGIC + b"twomfile\0\0\0\0", "twom"),
        (b"SQLite format 3\0", "sql"),
        (b"\0" * 12 + b"\x62\x31\x05\x00", "berkeley"),
        (b"user.jane\t5 1\n", "flat"),
    ],
)
def test_other_backends_say_how_to_dump_them(start: bytes, backend: str, tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    path.write_bytes(start)
    with pytest.raises(UnsupportedBackend, match=f"cyr_dbtool {path} {backend} show"):
        cyrusdb.open(path)


def test_a_backend_by_name_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    path.write_bytes(b"something")
    with pytest.raises(UnsupportedBackend, match="zeroskip"):
        cyrusdb.open(path, "zeroskip")


def test_an_unknown_backend_is_the_callers_mistake() -> None:
    with pytest.raises(OptionError, match="no such backend"):
        cyrusdb.open(TWOSKIP / "quotas.db", "twoskipp")


@pytest.mark.parametrize("backend", [None, "twoskip"])
def test_an_empty_file_is_an_empty_database(backend: Optional[str], tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    path.touch()
    with cyrusdb.open(path, backend) as db:
        assert list(db) == []


@pytest.mark.parametrize("backend", [None, *cyrusdb.BACKENDS])
def test_a_missing_path_is_no_such_source(backend: Optional[str], tmp_path: Path) -> None:
    with pytest.raises(NoSuchSource, match=f"{tmp_path}/gone .*does not exist"):
        cyrusdb.open(tmp_path / "gone" / "quotas.db", backend)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoSuchSource):
        cyrusdb.open(tmp_path / "file" / "quotas.db")


def test_a_named_backend_does_not_make_a_file_one(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    path.write_bytes(b"user.jane\t5 1\n")
    with pytest.raises(DamagedDatabase, match="expected a twoskip header"):
        cyrusdb.open(path, "twoskip")


def test_a_forbidden_file_says_whom_to_run_as(tmp_path: Path, as_ordinary_user: None) -> None:
    with pytest.raises(SourceForbidden, match="run as root or as the Cyrus user"):
        cyrusdb.open(tmp_path / "forbidden")


def test_a_path_with_nul_is_no_such_source() -> None:
    with pytest.raises(NoSuchSource):
        cyrusdb.open("/a\0b")
