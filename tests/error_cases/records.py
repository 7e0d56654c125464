"""Single records cannot be read. The run goes on, and does not list their users."""

from __future__ import annotations

from cyrusquota.errors import BadDump, BadReport, BadValue, DamagedDatabase
from cyrusquota.verdicts.evaluator import Approximate, Unresolved
from tests.error_cases.case import FIXTURES, ErrorCase

_CRASH, _MAIN = FIXTURES / "crash", FIXTURES / "main"
_TWOM = (_MAIN / "twom" / "quotas.db").read_bytes()
_GOOD = b"user.bob\t1 1\n"
_DB_DUMP = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n"
_TEXT = b"   Quota   % Used     Used             Resource Root\n"
_OLD_TEXT = b"   Quota  % Used    Used Root\n"
_CONF = b"configdirectory: lib\nquota_db: flat\npartition-default: spool\n"
_INHERITED = {
    "imapd.conf": _CONF,
    "lib/quotas.db": b"user\t2000 1\n",
    "lib/mailboxes.db": b"user.jane\t0 default jane\tlrs\t\n",
}
_TWO_FILES = {
    "lib/quota/j/user.jane": b"2000\n1\n",
    "lib/quota/I/user.jane": b"2000\n1\n",
    "lib/quota/b/user.bob": b"1\n1\n",
}

CASES = (
    ErrorCase(
        "a value in a bad format",
        BadValue,
        "cyrusquota-export --dump dump",
        files={"dump": _GOOD + b"user.jane\tx\n"},
    ),
    ErrorCase(
        "a cut dlist",
        BadValue,
        "cyrusquota-export --dump dump",
        files={"dump": _GOOD + b"user.jane\t%(S\n"},
    ),
    ErrorCase(
        "text after the value",
        BadValue,
        "cyrusquota-export --dump dump",
        files={"dump": _GOOD + b"user.jane\t%(M (1 1))x\n"},
    ),
    ErrorCase(
        "a bad twoskip checksum",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _CRASH / "twoskip" / "bad-tail-crc-live.db"},
    ),
    ErrorCase(
        "a bad twom checksum",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _TWOM.replace(b"%(S (1024 10)", b"%(S (1024 11)", 1)},
    ),
    ErrorCase(
        "a bad line in a flat file",
        DamagedDatabase,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _GOOD + b"hello\n"},
    ),
    ErrorCase(
        "a cut quotalegacy file",
        DamagedDatabase,
        "cyrusquota-export --db lib",
        files={"lib/quota/j/user.jane": b"2000", "lib/quota/b/user.bob": b"1\n1\n"},
    ),
    ErrorCase(
        "a quotalegacy file in the wrong directory",
        DamagedDatabase,
        "cyrusquota-export --db lib",
        files={"lib/quota/x/user.jane": b"2000\n1\n", "lib/quota/b/user.bob": b"1\n1\n"},
    ),
    ErrorCase(
        "two quotalegacy files for one root",
        DamagedDatabase,
        "cyrusquota-export --db lib",
        files=_TWO_FILES,
    ),
    ErrorCase(
        "a dump line without a TAB",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": _GOOD + b"hello\n"},
    ),
    ErrorCase(
        "a bad line in a dump by db_dump",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": _DB_DUMP + b" user.jane\nx\n user.bob\n 1 1\nDATA=END\n"},
    ),
    ErrorCase(
        "a db_dump key without a value",
        BadDump,
        "cyrusquota-export --dump dump",
        files={"dump": _DB_DUMP + b" user.bob\n 1 1\n user.jane\nDATA=END\n"},
    ),
    ErrorCase(
        "a bad row in a report by Cyrus 2.4",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": _OLD_TEXT + b"      10      10       1 user/bob\n hello\n"},
    ),
    ErrorCase(
        "a bad row in a report by Cyrus 2.5",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={
            "report": _TEXT
            + b"".join(
                b"                        1 %20s user/bob\n" % name
                for name in (b"STORAGE", b"MESSAGE", b"X-ANNOTATION-STORAGE", b"X-NUM-FOLDERS")
            )
            + b" hello\n"
        },
    ),
    ErrorCase(
        "a bad member in a JSON report",
        BadReport,
        "cyrusquota-export --quota-output report",
        files={"report": b'{"user/bob": {},"user/jane": 1}'},
    ),
    ErrorCase(
        "a bad member in a JSON mailbox list",
        BadDump,
        "cyrusquota-export --dump dump --mailboxes mailboxes",
        files={"dump": _GOOD, "mailboxes": b'{"user.jane": 1}'},
    ),
    ErrorCase(
        "a value of megabytes",
        BadValue,
        "cyrusquota-export --db quotas.db",
        files={"quotas.db": _GOOD + b"user.jane\t%(S " + b"(" * 2_000_000 + b"\n"},
    ),
    ErrorCase(
        "a full root above unknown users",
        Unresolved,
        "cyrusquota-export --dump dump",
        files={"dump": b"user\t2000 1\n"},
    ),
    ErrorCase(
        "an unreadable mailbox header",
        Approximate,
        "cyrusquota-export -C imapd.conf",
        files={**_INHERITED, "spool/user/jane/cyrus.header": b"hello"},
    ),
    ErrorCase(
        "a mailbox on an unknown partition",
        Approximate,
        "cyrusquota-export -C imapd.conf",
        files={**_INHERITED, "imapd.conf": _CONF.replace(b"partition-default: spool\n", b"")},
    ),
)
