"""What the caller asked for cannot be done."""

from __future__ import annotations

from typing import ContextManager
from unittest import mock

from papers.provocations._provocation import Provocation, as_nobody

_FULL = b"user.jane\t2000 1\n"


def _root() -> ContextManager[object]:
    """As if by root, as far as the program can see; nothing is changed before it fails."""
    return mock.patch("os.geteuid", return_value=0)


PROVOCATIONS = (
    Provocation(
        "cyrusquota-export --db quotas.db --quota-output report.txt",
        "Two places were named to read the quotas from.",
        "Name one.",
    ),
    Provocation(
        "cyrusquota-export --db ''",
        "A file without a name is none. Mostly, the name was to come from a variable of the shell"
        " that is not set.",
        "Name the file, or leave the option out.",
        names={"'--db'": "OPTION"},
    ),
    Provocation(
        "cyrusquota-export --backend twoskip",
        "imapd.conf leads to the database, and says its format too.",
        "Leave --backend out, or name the file with --db.",
    ),
    Provocation(
        "cyrusquota-export --mailboxes mailboxes.db --no-mailboxes",
        "The list of mailboxes cannot be both used and not used.",
        "Leave one of the two out.",
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf --no-mailboxes",
        "Conversations totals lie in files that are found by mailboxes.db.",
        "Leave --no-mailboxes out. If mailboxes.db is elsewhere, name it with --mailboxes.",
        names={"imapd.conf": "FILE"},
        files={"imapd.conf": b"configdirectory: /x\nquota_use_conversations: yes\n"},
    ),
    Provocation(
        "cyrusquota-export --db quotas.db --backend cdb",
        "Cyrus has no format of that name.",
        "Leave --backend out: the format is recognized.",
        names={"cdb": "NAME"},
        files={"quotas.db": b""},
    ),
    Provocation(
        "cyrusquota-export --dump - --headroom lots",
        "What follows --headroom is no size.",
        "A number, with K, M, G or T behind it or nothing for bytes.",
        names={"lots": "TEXT"},
    ),
    Provocation(
        "cyrusquota-export --dump - --reserve lots",
        "What follows --reserve is no amount.",
        "A size, a percentage, or RESOURCE=AMOUNT.",
        names={"lots": "TEXT"},
    ),
    Provocation(
        "cyrusquota-export --dump - --mode rw",
        "--mode takes what chmod takes in octal, up to 0777.",
        "Four digits such as 0644 or 0640.",
        names={"rw": "TEXT"},
    ),
    Provocation(
        "cyrusquota-export --dump - --max-change 20",
        "What follows --max-change is no limit. A percentage alone would hold back the second"
        " entry of a small map, a number alone would mean nothing in a large one.",
        "Both, with a comma: 20%,50.",
        names={"'20'": "TEXT"},
    ),
    Provocation(
        "cyrusquota-export --dump - --message ''",
        "The text is checked before anything is written, because Exim would alter it, split it, or"
        " refuse everybody.",
        "Printable ASCII, at most 75 bytes, without blanks at its ends. It may begin with a 4xx"
        " code, or with a 5xx code and --refuse.",
        names={"''": "TEXT"},
    ),
    Provocation(
        "cyrusquota-export --dump - --map-format postfix --headroom 50M",
        "Only the router for Exim compares the size of a message with the space that is left.",
        "Leave --headroom out. --reserve lists users who are nearly full, too.",
    ),
    Provocation(
        "cyrusquota-export --dump - --key address",
        "The user has no domain in his name, and no imapd.conf says which one to add.",
        "As the line says. With one domain, --key local is enough.",
        names={"jane": "USER"},
        stdin=_FULL,
    ),
    Provocation(
        "cyrusquota-export --follow",
        "Following writes a map again and again, so it needs the name of one, and nobody is there"
        " to look at a dry run or to accept a change.",
        "Give -o FILE. To accept a change, run the command of the message that held it back; it"
        " may run beside --follow.",
    ),
    Provocation(
        "cyrusquota-export --follow -o map --dump -",
        "A dump or report can be read once; nothing tells when it is out of date.",
        "Follow the database itself, or make the dump from cron and export it without --follow.",
    ),
    Provocation(
        "cyrusquota-export --dump - -o map --owner nosuchuser",
        "This host knows no such user (passwd).",
        "Check the spelling: getent passwd NAME.",
        names={"nosuchuser": "NAME"},
    ),
    Provocation(
        "cyrusquota-export --dump - -o map --group nosuchgroup",
        "This host knows no such group.",
        "Check the spelling: getent group NAME. Exim's is often Debian-exim, exim or mail.",
        names={"nosuchgroup": "NAME"},
    ),
    Provocation(
        "cyrusquota-export --dump - -o map --owner 99999999999",
        "Ids have 32 bits.",
        "Give a name, or the number that `id -u NAME` prints.",
        names={"99999999999": "NUMBER"},
    ),
    Provocation(
        "cyrusquota-export --dump - --user 0",
        "Only root may change to another user, and this is not root.",
        "Run it as root, or leave --user out and run it as the Cyrus user.",
        names={"--user 0": "--user NAME"},
        meanwhile=as_nobody,
    ),
    Provocation(
        "cyrusquota-export --dump - --user 4000000000",
        "There is no account with this number, so its groups are not known.",
        "Give the name of the Cyrus user, usually cyrus.",
        names={"4000000000": "NUMBER"},
        meanwhile=_root,
    ),
)
