"""Single records that cannot be read. The run goes on without them, and without their users."""

from __future__ import annotations

from papers.provocations._provocation import FIXTURES, Provocation

_CRASH, _MAIN = FIXTURES / "crash", FIXTURES / "main"
_TWOM = (_MAIN / "twom" / "quotas.db").read_bytes()
_GOOD = b"user.bob\t1 1\n"
_SETQUOTA = "Set the limit of this root anew (SETQUOTA, cyradm's setquota), or run `quota -f`."
_NAMES = {"quotas.db": "PATH"}
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

PROVOCATIONS = (
    Provocation(
        "cyrusquota-export -C imapd.conf --dump - --no-mailboxes",
        "An option is set twice. Cyrus would not start.",
        "Remove one of the two. The run goes on with the later one.",
        names={"imapd.conf": "FILE", "virtdomains": "NAME"},
        files={"imapd.conf": b"virtdomains: on\nvirtdomains: off\n"},
        stdin=b"user.jane\t1 1\n",
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "The value is in none of the forms that Cyrus writes. Cyrus takes such a root for not"
        " there, and says so in its own log.",
        _SETQUOTA,
        names={"dump, column 1": "SOURCE, column NUMBER", "'user.jane'": "NAME", "'x'": "VALUE"},
        files={"dump": _GOOD + b"user.jane\tx\n"},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "The value breaks off. Cyrus takes such a root for unlimited.",
        _SETQUOTA,
        names={"dump, column 4": "SOURCE, column NUMBER", "'user.jane'": "NAME", "'%(S'": "VALUE"},
        files={"dump": _GOOD + b"user.jane\t%(S\n"},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "Something stands behind the value.",
        _SETQUOTA,
        names={
            "dump, column 11": "SOURCE, column NUMBER",
            "'user.jane'": "NAME",
            "'%(M (1 1))x'": "VALUE",
        },
        files={"dump": _GOOD + b"user.jane\t%(M (1 1))x\n"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The checksum of a record of a twoskip or twom file does not fit, or records behind one"
        " cannot be reached.",
        "cyr_dbtool PATH twoskip show tells what Cyrus reads. Set the limit of the root named"
        " anew, or run `quota -f`.",
        names={**_NAMES, "offset 2344": "offset NUMBER", "'user.u05'": "NAME"},
        files={"quotas.db": _CRASH / "twoskip" / "bad-tail-crc-live.db"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "The same of a twom file.",
        "The same.",
        names={**_NAMES, "offset 368": "offset NUMBER", "'user.jane'": "NAME"},
        files={"quotas.db": _TWOM.replace(b"%(S (1024 10)", b"%(S (1024 11)", 1)},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db",
        "A line of a flat file is none.",
        "Restore the file from a backup, or set the limit of the user anew.",
        names={**_NAMES, "line 2": "line NUMBER", "'hello'": "TEXT"},
        files={"quotas.db": _GOOD + b"hello\n"},
    ),
    Provocation(
        "cyrusquota-export --db lib",
        "A file of a quotalegacy tree is not whole. Cyrus 2.4 and older could leave that behind.",
        _SETQUOTA,
        names={"lib/quota/j/user.jane": "PATH", "'user.jane'": "NAME", "'2000'": "TEXT"},
        files={"lib/quota/j/user.jane": b"2000", "lib/quota/b/user.bob": b"1\n1\n"},
    ),
    Provocation(
        "cyrusquota-export --db lib",
        "A file of a quotalegacy tree lies where Cyrus does not look for it, as after a change of"
        " fulldirhash by hand. To Cyrus there is no such root.",
        "Move it to the directory that the line names, or remove it.",
        names={
            "lib/quota/x/user.jane": "PATH",
            "'user.jane'": "NAME",
            "directory j": "directory X",
        },
        files={"lib/quota/x/user.jane": b"2000\n1\n", "lib/quota/b/user.bob": b"1\n1\n"},
    ),
    Provocation(
        "cyrusquota-export --db lib",
        "A root has two files, as after a change of fulldirhash, and nothing says which one Cyrus"
        " looks at.",
        "As the line says.",
        names={
            "lib/quota/I/user.jane exists": "PATH exists",
            "lib/quota/j/user.jane": "PATH",
            "'user.jane'": "NAME",
        },
        files=_TWO_FILES,
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "A line of a dump has no TAB.",
        "Make the dump again; is it a report of `quota`? Then give it to --quota-output.",
        names={"dump, line 2": "SOURCE, line NUMBER", "'hello'": "TEXT"},
        files={"dump": _GOOD + b"hello\n"},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "A row of db_dump cannot be made out.",
        "Make the dump again with db_dump -p.",
        names={"dump, line 6": "SOURCE, line NUMBER", "'x'": "TEXT"},
        files={"dump": _DB_DUMP + b" user.jane\nx\n user.bob\n 1 1\nDATA=END\n"},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "The last key of a dump by db_dump has no value.",
        "Make the dump again with db_dump -p.",
        names={": dump,": ": SOURCE,", "'user.jane'": "NAME"},
        files={"dump": _DB_DUMP + b" user.bob\n 1 1\n user.jane\nDATA=END\n"},
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "A row of a report up to Cyrus 2.4 is none.",
        "Keep what `quota` prints on standard error out of the file, and make it again.",
        names={"report, line 3": "SOURCE, line NUMBER", "' hello'": "TEXT"},
        files={"report": _OLD_TEXT + b"      10      10       1 user/bob\n hello\n"},
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "A row of a report since Cyrus 2.5 is none.",
        "Keep what `quota` prints on standard error out of the file, and make it again.",
        names={"report, line 6": "SOURCE, line NUMBER", "' hello'": "TEXT"},
        files={
            "report": _TEXT
            + b"".join(
                b"                        1 %20s user/bob\n" % name
                for name in (b"STORAGE", b"MESSAGE", b"X-ANNOTATION-STORAGE", b"X-NUM-FOLDERS")
            )
            + b" hello\n"
        },
    ),
    Provocation(
        "cyrusquota-export --quota-output report",
        "A member of what `quota -J` printed is not a root with its figures.",
        "Make the report again.",
        names={"report, offset 16": "SOURCE, offset NUMBER", "'user/jane'": "NAME", "'1'": "TEXT"},
        files={"report": b'{"user/bob": {},"user/jane": 1}'},
    ),
    Provocation(
        "cyrusquota-export --dump dump --mailboxes mailboxes",
        "A member of what `ctl_mboxlist -d` printed is no mailbox.",
        "Make the list again.",
        names={"mailboxes, offset 1": "SOURCE, offset NUMBER", "'user.jane'": "NAME"},
        files={"dump": _GOOD, "mailboxes": b'{"user.jane": 1}'},
    ),
    Provocation(
        "cyrusquota-export --dump dump",
        "A root above users is full, and it is not known which users it governs. Up to then they"
        " bounce as before.",
        "As the line says.",
        names={"'user'": "NAME"},
        files={"dump": b"user\t2000 1\n"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "The user has no root of his own, the root above him is full, and the mailbox header that"
        " says whether it governs him cannot be read. He is listed.",
        "Run as root or as the Cyrus user. Is the partition mounted? `reconstruct` mends a broken"
        " header.",
        names={"'user.jane'": "NAME", "'user'": "NAME", "spool/user/jane/cyrus.header": "PATH"},
        files={**_INHERITED, "spool/user/jane/cyrus.header": b"hello"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "The same where imapd.conf does not name the partition that the mailbox is on.",
        "Add partition-NAME to imapd.conf, or look whether mailboxes.db is an old one.",
        names={"'user.jane'": "NAME", "'user'": "NAME", "'default'": "NAME"},
        files={**_INHERITED, "imapd.conf": _CONF.replace(b"partition-default: spool\n", b"")},
    ),
)
