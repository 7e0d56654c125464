"""The quota data cannot be got at."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
from typing import ContextManager
from unittest import mock

from cyrusquota.cyrusdb.twom.xxh3 import checksum
from papers.provocations._provocation import FIXTURES, Provocation, as_nobody, failing

_MAIN = FIXTURES / "main"
_TWOM = (_MAIN / "twom" / "quotas.db").read_bytes()


def _later_twom() -> bytes:
    """A twom file of a version that is not there yet."""
    header = _TWOM[:32] + b"\2\0\0\0" + _TWOM[36:92]
    return header + checksum(header).to_bytes(4, "little") + _TWOM[96:]


def _never_settled() -> ContextManager[object]:
    """The file is another one each time somebody looks."""
    numbers = itertools.count()
    status = os.stat

    def other(path: str) -> os.stat_result:
        found = list(status(path))
        found[1] = next(numbers)
        return os.stat_result(found)

    return mock.patch("os.stat", other)


def _being_written() -> ContextManager[object]:
    return mock.patch("cyrusquota.cyrusdb.sql._PATIENCE", 0.0)


PROVOCATIONS = (
    Provocation(
        "cyrusquota-export --db lib/quotas.db",
        "Nothing is at the path. The part in parentheses is the first directory that is missing.",
        "Check the path; `cyrusquota-export -C /etc/imapd.conf -v` says which one Cyrus's"
        " configuration leads to. Is a file system not mounted?",
        names={"lib/quotas.db": "PATH", "(lib ": "(DIRECTORY "},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The file or a directory above it is closed to the user who runs this.",
        "Run it as root, with --user cyrus if you like, or as the Cyrus user.",
        names={"quotas.db": "PATH"},
        files={"quotas.db": b""},
        meanwhile=lambda: _closed("quotas.db"),
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The operating system could not read the file: a bad disk, a lost network file system.",
        "Look into the kernel's log (dmesg).",
        names={"quotas.db": "PATH", "Input/output error": "REASON"},
        files={"quotas.db": b""},
        meanwhile=failing("pathlib.Path.open", errno.EIO),
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "A path in imapd.conf has a NUL byte in it: the file is damaged.",
        "Restore imapd.conf.",
        names={"/x\\x00y/quotas.db": "PATH"},
        files={"imapd.conf": b"configdirectory: /x\0y\nquota_db: twoskip\n"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "The same, where the quotas are in a quotalegacy tree.",
        "Restore imapd.conf.",
        names={"/x\\x00y": "DIRECTORY"},
        files={"imapd.conf": b"configdirectory: /x\0y\n"},
    ),
    Provocation(
        "cyrusquota-export --db spool",
        "The directory holds no quotas.",
        "Name the one above quota/, which is Cyrus's configdirectory as a rule.",
        names={"spool": "PATH"},
        files={"spool/jane/cyrus.header": b""},
    ),
    Provocation(
        "cyrusquota-export --db quotas.sqlite",
        "A SQLite file, but none that Cyrus keeps quotas in. Cyrus calls the table like the file.",
        "Name the file that quota_db_path names, under its own name.",
        names={"quotas.sqlite": "PATH", "quotas_sqlite": "TABLE", "found other": "found TABLES"},
        files={"quotas.sqlite": b""},
        meanwhile=lambda: _sqlite("quotas.sqlite", "CREATE TABLE other (a, b)"),
    ),
    Provocation(
        "cyrusquota-export --dump - --mailboxes mailboxes.db",
        "The list of mailboxes is not where it was said to be. Without it nobody knows who has an"
        " INBOX here.",
        "Name it. --no-mailboxes lists by quota roots alone: users who left, and not those who"
        " inherit a root.",
        names={"mailboxes.db": "PATH"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "BerkeleyDB (Cyrus up to 2.5) is read through a dump.",
        "Run the two commands, with the options you want in the place of the dots.",
        names={"quotas.db": "PATH"},
        files={"quotas.db": FIXTURES / "berkeley" / "quotas-btree.db"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db --backend zeroskip",
        "A format of Cyrus that is not read here (lmdb, zeroskip).",
        "Run the two commands, with the options you want in the place of the dots.",
        names={"quotas.db": "PATH", "zeroskip": "NAME"},
        files={"quotas.db": b"1"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The file was written by a later version of Cyrus.",
        "Run the two commands, and ask for a newer version of this program.",
        names={"quotas.db": "PATH", "version 2": "version NUMBER"},
        files={"quotas.db": _later_twom()},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The file has checksums of a kind of its own.",
        "Run the two commands.",
        names={"quotas.db": "PATH"},
        files={"quotas.db": _TWOM[:36] + b"\0\0\0\x20" + _TWOM[40:]},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "Something repacks or replaces a skiplist file without end.",
        "Try again later. If it stays so, look at who writes to it: fuser -v PATH.",
        names={"quotas.db": "PATH"},
        files={"quotas.db": _MAIN / "skiplist" / "quotas.db"},
        meanwhile=_never_settled,
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "A journal lies beside the SQLite file: somebody is writing, or was killed while writing.",
        "Try again later. Cyrus rolls the journal back when it opens the file the next time.",
        names={"quotas.db": "PATH", " 0 seconds": " NUMBER seconds"},
        files={"quotas.db": _MAIN / "sqlite" / "quotas.db", "quotas.db-journal": b"1"},
        meanwhile=_being_written,
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "SQLite could not read the file, and the data is not to blame: no memory, a bad disk.",
        "Look into the kernel's log (dmesg).",
        names={"quotas.db": "PATH", "disk I/O error": "REASON"},
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
    """SQLite says this of the file."""
    return mock.patch("sqlite3.connect", side_effect=error)
