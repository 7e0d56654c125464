"""The data as a whole is not what Cyrus or its tools write."""

from __future__ import annotations

import sqlite3

from papers.provocations._provocation import FIXTURES, Provocation
from papers.provocations.sources import sqlite_failing

_MAIN, _CRASH = FIXTURES / "main", FIXTURES / "crash"
_DB_DUMP = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n"
_REPAIR = (
    "`cyr_dbtool PATH BACKEND show` tells whether Cyrus can read it. Limits are kept nowhere else:"
    " `quota -f` counts what is used, but cannot know them."
)
_AGAIN = "Make it again, and check the exit status of what made it."
_NOT_ONE = "Look at the lines before this one: they name the records. The map in place stays."

PROVOCATIONS = (
    Provocation(
        "cyrusquota-export --db quotas.db",
        "A twoskip file is cut, overwritten, or no twoskip file behind its first bytes. What was"
        " expected, and at which byte, differs with the damage.",
        _REPAIR,
        names={"quotas.db": "PATH", "offset 0": "offset NUMBER"},
        files={"quotas.db": _CRASH / "twoskip" / "short-header.db"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The same of a twom file.",
        _REPAIR,
        names={"quotas.db": "PATH", "offset 0": "offset NUMBER"},
        files={"quotas.db": (_MAIN / "twom" / "quotas.db").read_bytes()[:40]},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The same of a skiplist file.",
        _REPAIR,
        names={"quotas.db": "PATH", "offset 0": "offset NUMBER"},
        files={"quotas.db": (_MAIN / "skiplist" / "quotas.db").read_bytes()[:40]},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "A file without the first bytes of any format is taken for a flat one, and not one of its"
        " lines is a record. Often it is no quota database at all.",
        "Check what the file is: file PATH.",
        names={"quotas.db": "PATH", "'hello'": "TEXT"},
        files={"quotas.db": b"hello\n"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db --backend sql",
        "imapd.conf or --backend says SQLite, and the file is none.",
        "Check quota_db and quota_db_path.",
        names={"quotas.db": "PATH", "'hello\\n'": "TEXT"},
        files={"quotas.db": b"hello\n"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "SQLite finds the file damaged.",
        "sqlite3 PATH .recover may save it; otherwise restore it from a backup.",
        names={"quotas.db": "PATH", "(database disk image is malformed)": "(REASON)"},
        files={"quotas.db": _MAIN / "sqlite" / "quotas.db"},
        # How much SQLite can make of a damaged file differs with its version.
        meanwhile=lambda: sqlite_failing(sqlite3.DatabaseError("database disk image is malformed")),
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "A SQLite file was cut, as by a full disk or an unfinished copy.",
        "Restore it from a backup.",
        names={"quotas.db": "PATH", "4096": "NUMBER"},
        files={"quotas.db": (_MAIN / "sqlite" / "quotas.db").read_bytes()[:-1]},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "Not one record could be read, so this is taken for the wrong file, or a wrecked one.",
        _NOT_ONE,
        names={"dump": "SOURCE"},
        files={"dump": b"hello\n"},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "A dump does not end with a line break: it was cut.",
        _AGAIN,
        names={"dump, line": "SOURCE, line", "'user.jane\\t2000'": "TEXT", "line 1": "line NUMBER"},
        files={"dump": b"user.jane\t2000"},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "A dump by db_dump has no end: it was cut.",
        _AGAIN,
        names={"dump, line 6": "SOURCE, line NUMBER", "DATA=END": "DATA=END or HEADER=END"},
        files={"dump": _DB_DUMP + b" user.jane\n 1 1\n"},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "The header is not one of db_dump, or of a kind of database that Cyrus does not use.",
        _AGAIN,
        names={"dump, line 2": "SOURCE, line NUMBER", "found 'xml'": "found TEXT"},
        files={"dump": _DB_DUMP.replace(b"print", b"xml")},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "Two dumps by db_dump in one file, or something else behind one.",
        "Give one dump at a time.",
        names={"dump, line 6": "SOURCE, line NUMBER", "'more\\n'": "TEXT"},
        files={"dump": _DB_DUMP + b"DATA=END\nmore\n"},
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "The first line is not the one that `quota` prints.",
        "--quota-output takes what `quota` or `quota -J` printed, --dump takes dumps.",
        names={"report, line 1": "SOURCE, line NUMBER", "'user.jane\\t2000 1'": "TEXT"},
        files={"report": b"user.jane\t2000 1\n"},
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "The report is empty. `quota` prints at least a header line.",
        "Run `quota` by hand as the Cyrus user and read what it says on standard error.",
        names={"report": "SOURCE"},
        files={"report": b""},
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "The last line of a report is not whole.",
        _AGAIN,
        names={"report, line 2": "SOURCE, line NUMBER", "'    10'": "TEXT"},
        files={"report": b"   Quota   % Used     Used             Resource Root\n    10"},
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "The rows of the last root are not all there. Since Cyrus 2.5 a root has four.",
        _AGAIN,
        names={"report, line 2": "SOURCE, line NUMBER", "'user/jane'": "NAME"},
        files={
            "report": b"   Quota   % Used     Used             Resource Root\n"
            b"      10       10        1              STORAGE user/jane\n"
        },
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "What `quota -J` printed is not whole, or no JSON.",
        _AGAIN,
        names={"report, offset 12": "SOURCE, offset NUMBER"},
        files={"report": b'{"user/jane"'},
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "What `quota -J` printed is not in UTF-8, as for names of an old Cyrus.",
        "Read the database itself, or the text that `quota` prints.",
        names={"report, offset 6": "SOURCE, offset NUMBER", "'\\xfc'": "BYTES"},
        files={"report": b'{"user\xfc": {}}'},
    ),
)
