"""The quota data cannot be read."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
from typing import ContextManager, Iterator
from unittest import mock

from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.errors import (
    DamagedDatabase,
    NoSuchSource,
    SourceError,
    SourceForbidden,
    UnsupportedBackend,
)
from tests.error_cases.case import FIXTURES, ErrorCase, as_nobody, failing

_MAIN = FIXTURES / "main"
_TWOM = (_MAIN / "twom" / "quotas.db").read_bytes()


def _later_twom() -> bytes:
    """Return a twom file of a later version."""
    header = _TWOM[:32] + b"\2\0\0\0" + _TWOM[36:92]
    return header + checksum(header).to_bytes(4, "little") + _TWOM[96:]


def _never_settled() -> ContextManager[object]:
    """Make the file look like another one each time."""
    numbers = itertools.count()
    status = os.stat

    def other(path: str) -> os.stat_result:
        found = list(status(path))
        found[1] = next(numbers)
        return os.stat_result(found)

    return mock.patch("os.stat", other)


@contextlib.contextmanager
def _hollow(path: str) -> Iterator[None]:
    """Let a file be much larger than what it takes on the disk."""
    os.truncate(path, 8 << 30)
    yield


def _being_written() -> ContextManager[object]:
    return mock.patch("cyrusquota.cyrusdb.sql._PATIENCE", 0.0)


CASES = (
    ErrorCase(
        "quotas on an SQL server",
        UnsupportedBackend,
        "cyrusquota-export -C imapd.conf",
        files={
            "imapd.conf": b"configdirectory: lib\nquota_db: sql\nsql_engine: pgsql\n",
            "lib/mailboxes.db": b"",
        },
    ),
    ErrorCase(
        "no quota database",
        NoSuchSource,
        "cyrusquota-export --db lib/quotas.db",
    ),
    ErrorCase(
        "a quota database without read permission",
        SourceForbidden,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": b""},
        meanwhile=lambda: _closed("quotas.db"),
    ),
    ErrorCase(
        "an input/output error",
        SourceError,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": b""},
        meanwhile=failing("cyrusquota.cyrusdb.opened", errno.EIO),
    ),
    ErrorCase(
        "a device in place of a database",
        SourceError,
        "cyrusquota-export --db /dev/zero",
    ),
    ErrorCase(
        "a database that is mostly a hole",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": (_MAIN / "skiplist" / "quotas.db").read_bytes()},
        meanwhile=lambda: _hollow("quotas.db"),
    ),
    ErrorCase(
        "a NUL byte in quota_db_path",
        NoSuchSource,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory: /x\0y\nquota_db: twoskip\n"},
    ),
    ErrorCase(
        "a NUL byte in configdirectory",
        NoSuchSource,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory: /x\0y\n"},
    ),
    ErrorCase(
        "a directory without quotas",
        NoSuchSource,
        "cyrusquota-export --db spool",
        files={"spool/jane/cyrus.header": b""},
    ),
    ErrorCase(
        "a SQLite file without Cyrus's table",
        NoSuchSource,
        "cyrusquota-export --db quotas.sqlite",
        files={"quotas.sqlite": b""},
        meanwhile=lambda: _sqlite("quotas.sqlite", "CREATE TABLE other (a, b)"),
    ),
    ErrorCase(
        "a SQLite table that calculates what it holds",
        DamagedDatabase,
        "cyrusquota-export --db quotas.sqlite",
        files={"quotas.sqlite": b""},
        meanwhile=lambda: _sqlite(
            "quotas.sqlite", "CREATE TABLE quotas_db (dbkey, data AS (dbkey || '1'))"
        ),
    ),
    ErrorCase(
        "a Cyrus that was never started",
        NoSuchSource,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory: lib\n", "lib": None},
    ),
    ErrorCase(
        "a directory in place of a dump",
        NoSuchSource,
        "cyrusquota-export --dump lib",
        files={"lib": None},
    ),
    ErrorCase(
        "a directory in place of mailboxes.db",
        NoSuchSource,
        "cyrusquota-export --dump - --mailboxes lib",
        files={"lib": None},
    ),
    ErrorCase(
        "no mailboxes.db",
        NoSuchSource,
        "cyrusquota-export --dump - --mailboxes mailboxes.db",
    ),
    ErrorCase(
        "a BerkeleyDB file",
        UnsupportedBackend,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": FIXTURES / "berkeley" / "quotas-btree.db"},
    ),
    ErrorCase(
        "a backend that is not read here",
        UnsupportedBackend,
        "cyrusquota-export --db quotas.db --backend zeroskip",
        files={"quotas.db": b"1"},
    ),
    ErrorCase(
        "a twom file of a later version",
        UnsupportedBackend,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _later_twom()},
    ),
    ErrorCase(
        "a twom file with unknown checksums",
        UnsupportedBackend,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _TWOM[:36] + b"\0\0\0\x20" + _TWOM[40:]},
    ),
    ErrorCase(
        "a skiplist file that is replaced again and again",
        SourceError,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _MAIN / "skiplist" / "quotas.db"},
        meanwhile=_never_settled,
    ),
    ErrorCase(
        "a SQLite file with a journal",
        SourceError,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _MAIN / "sqlite" / "quotas.db", "quotas.db-journal": b"1"},
        meanwhile=_being_written,
    ),
    ErrorCase(
        "SQLite cannot read the disk",
        SourceError,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _MAIN / "sqlite" / "quotas.db"},
        meanwhile=lambda: sqlite_failing(sqlite3.OperationalError("disk I/O error")),
    ),
)


def _closed(name: str) -> ContextManager[object]:
    os.chmod(name, 0)
    return as_nobody()


def _sqlite(name: str, *statements: str) -> ContextManager[object]:
    with contextlib.closing(sqlite3.connect(name)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return contextlib.nullcontext()


def sqlite_failing(error: sqlite3.Error) -> ContextManager[object]:
    """Let SQLite raise `error`."""
    return mock.patch("sqlite3.connect", side_effect=error)
