"""Opening a database: which backend it is, and what is said where it cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.database import mailbox_order
from cyrusquota.errors import (
    DamagedDatabase,
    NoSuchSource,
    OptionError,
    SourceForbidden,
    UnsupportedBackend,
)
from tests.recorded_fixtures import TWOSKIP

MAGIC = b"\xa1\x02\x8b\x0d"


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


def test_mailbox_order_is_that_of_cyrus() -> None:
    """The keys as Cyrus 3.6.1 has them in a flat file, and CR, which is escaped there."""
    keys = [
        *(b"user.a", b"user.a.b", b"user.a\x01", b"user.a\x08", b"user.a\x0b", b"user.a\r"),
        *(b"user.a b", b"user.a-b", b"user.a\x7f", b"user.a\xff"),
    ]
    assert sorted(set(keys), key=mailbox_order) == keys
