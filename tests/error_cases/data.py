"""The data as a whole is not what Cyrus or its tools write."""

from __future__ import annotations

import sqlite3

from cyrusquota.errors import BadDump, BadReport, DamagedDatabase, DataError
from tests.error_cases.case import FIXTURES, ErrorCase
from tests.error_cases.sources import sqlite_failing

_MAIN, _CRASH = FIXTURES / "main", FIXTURES / "crash"
_DB_DUMP = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n"

CASES = (
    ErrorCase(
        "a cut twoskip header",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _CRASH / "twoskip" / "short-header.db"},
    ),
    ErrorCase(
        "a cut twom header",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": (_MAIN / "twom" / "quotas.db").read_bytes()[:40]},
    ),
    ErrorCase(
        "a cut skiplist header",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": (_MAIN / "skiplist" / "quotas.db").read_bytes()[:40]},
    ),
    ErrorCase(
        "a file in no known format",
        DataError,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": b"hello\n"},
    ),
    ErrorCase(
        "a file in no known format read as flat",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db --backend flat",
        files={"quotas.db": b"hello\n"},
    ),
    ErrorCase(
        "a database in place of a dump",
        BadDump,
        "cyrusquota-export --dump quotas.db",
        files={"quotas.db": _MAIN / "twoskip" / "quotas.db"},
    ),
    ErrorCase(
        "a text file read as SQLite",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db --backend sql",
        files={"quotas.db": b"hello\n"},
    ),
    ErrorCase(
        "a damaged SQLite file",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _MAIN / "sqlite" / "quotas.db"},
        # How much SQLite can make of a damaged file differs with its version.
        meanwhile=lambda: sqlite_failing(sqlite3.DatabaseError("database disk image is malformed")),
    ),
    ErrorCase(
        "a cut SQLite file",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": (_MAIN / "sqlite" / "quotas.db").read_bytes()[:-1]},
    ),
    ErrorCase(
        "a dump without a single record",
        DataError,
        "cyrusquota-export --dump dump",
        files={"dump": b"hello\n"},
    ),
    ErrorCase(
        "a cut dump",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": b"user.jane\t2000"},
    ),
    ErrorCase(
        "a dump by db_dump without an end",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": _DB_DUMP + b" user.jane\n 1 1\n"},
    ),
    ErrorCase(
        "a db_dump header of an unknown format",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": _DB_DUMP.replace(b"print", b"xml")},
    ),
    ErrorCase(
        "two dumps by db_dump in one file",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": _DB_DUMP + b"DATA=END\nmore\n"},
    ),
    ErrorCase(
        "a dump given as a report",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": b"user.jane\t2000 1\n"},
    ),
    ErrorCase(
        "a report given as a dump",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": b"   Quota   % Used     Used             Resource Root\n"},
    ),
    ErrorCase(
        "no text at all",
        BadDump,
        "cyrusquota-export --dump /dev/zero",
    ),
    ErrorCase(
        "JSON of megabytes",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": b'{"user/jane": "' + b"x" * 10_000_000 + b'"}'},
    ),
    ErrorCase(
        "a list of mailboxes given as the quota database",
        DataError,
        "cyrusquota-export --db mailboxes.db",
        files={"mailboxes.db": FIXTURES / "mailboxes" / "mailboxes-3.6.1" / "mailboxes.db"},
    ),
    ErrorCase(
        "an empty database of annotations given as the quota database",
        DataError,
        "cyrusquota-export --db annotations.db",
        files={"annotations.db": b""},
    ),
    ErrorCase(
        "a quota database given as the list of mailboxes",
        DataError,
        "cyrusquota-export --db quotas.db --mailboxes quotas.db",
        files={"quotas.db": FIXTURES / "main" / "twoskip" / "quotas.db"},
    ),
    ErrorCase(
        "an empty report",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": b""},
    ),
    ErrorCase(
        "a cut report",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": b"   Quota   % Used     Used             Resource Root\n    10"},
    ),
    ErrorCase(
        "a report without the last rows",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={
            "report": b"   Quota   % Used     Used             Resource Root\n"
            b"      10       10        1              STORAGE user/jane\n"
        },
    ),
    ErrorCase(
        "a cut JSON report",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": b'{"user/jane"'},
    ),
    ErrorCase(
        "a JSON report that is not UTF-8",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": b'{"user\xfc": {}}'},
    ),
)
