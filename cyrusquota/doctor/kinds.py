"""Kinds of findings, and those of Cyrus and of the map."""

from __future__ import annotations

import enum

import attrs


class Severity(enum.Enum):
    """How bad a finding is.

    An error keeps users from being deferred who should be, or defers users who should not; a
    warning will some day, or could not be ruled out; a note is good to know.
    """

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def exit_status(self) -> int:
        """The status of a run of which this is the worst finding."""
        return max(0, self.value - Severity.NOTE.value)


@attrs.frozen
class Kind:
    """One kind of finding: its name, how bad it is, what it means, and what to do."""

    id: str
    severity: Severity
    means: str
    do: str = ""


OK, NOTE, WARNING, ERROR = Severity.OK, Severity.NOTE, Severity.WARNING, Severity.ERROR

CYRUS_KINDS = (
    Kind("imapd-conf", OK, "imapd.conf can be followed."),
    Kind(
        "imapd-conf-bad",
        ERROR,
        "imapd.conf is missing or cannot be followed, so no export without --db can run.",
        "name the imapd.conf that Cyrus uses with -C",
    ),
    Kind(
        "imapd-conf-twice",
        WARNING,
        "imapd.conf sets an option twice; the last one counts here, and Cyrus does not start.",
        "remove one of the two lines",
    ),
    Kind("quota-db", OK, "The quota database can be read."),
    Kind(
        "quota-db-bad",
        ERROR,
        "The quota database is not there, is damaged as a whole, or cannot be read.",
        "see that quota_db, quota_db_path and configdirectory are those that Cyrus uses",
    ),
    Kind(
        "quota-db-tool",
        ERROR,
        "The quota database has a format that only its own tool can read (BerkeleyDB, SQL server).",
        "pipe a dump into the export: cyrusquota-export --dump -",
    ),
    Kind(
        "quota-db-records",
        WARNING,
        "Something in the quota data cannot be read; the users concerned are not listed.",
        "quota -f, or SETQUOTA, repairs single roots",
    ),
    Kind(
        "quota-db-empty",
        WARNING,
        "There is not one quota root, so nobody is ever full.",
        "see that this is the database that Cyrus uses, or set quotas",
    ),
    Kind(
        "quota-db-open",
        WARNING,
        "Any user of this host may write the quota database, and so decide who gets mail.",
        "chmod o-w",
    ),
    Kind(
        "mailboxes-bad",
        ERROR,
        "mailboxes.db cannot be read, which ends an export; users without a root of their own"
        " cannot be judged without it.",
        "see mboxlist_db_path; without it: cyrusquota-export --no-mailboxes",
    ),
    Kind(
        "no-inboxes",
        WARNING,
        "There are quota roots, but mailboxes.db has no INBOX that is delivered to here, so"
        " nobody is ever listed.",
        "in a murder, run the export on the backends",
    ),
    Kind(
        "murder",
        NOTE,
        "This host is part of a murder (mupdate_server).",
        "run the export on each backend, and on no frontend; Exim must look where the user is",
    ),
    Kind(
        "strict-quota",
        NOTE,
        "lmtp_strict_quota is on: a user whose MESSAGE limit is reached is full for lmtpd.",
        "nothing; the export goes by it",
    ),
    Kind(
        "totals",
        NOTE,
        "quota_use_conversations is on: STORAGE and MESSAGE are judged by conversations totals,"
        " which `quota` does not print.",
        "nothing; the export reads the totals, and cyrusquota list shows both",
    ),
    Kind(
        "totals-frozen",
        WARNING,
        "quota_use_conversations is on and conversations is off, so the totals that count stand"
        " still, or are 0.",
        "switch conversations on and rebuild with ctl_conversationsdb -b, or switch off"
        " quota_use_conversations",
    ),
    Kind(
        "perm-failure",
        NOTE,
        "lmtp_over_quota_perm_failure is on: Cyrus refuses for good, while the map defers.",
        "if Exim is to refuse for good too: --refuse, and the router in exim/refuse",
    ),
    Kind(
        "capitals",
        NOTE,
        "lmtp_downcase_rcpt is off: Cyrus tells Jane from jane, and a map cannot.",
        "nothing, unless there are such users; of two who differ in case alone neither is listed"
        " unless both are full",
    ),
    Kind(
        "virtual-domains",
        NOTE,
        "virtdomains is on: the map has addresses, and local parts only in no known domain.",
        "use the router in exim/address, or a CYRUSQUOTA_KEY with the domain",
    ),
)

MAP_KINDS = (
    Kind("map", OK, "The map is in place, is ours, and is fresh."),
    Kind(
        "map-missing",
        ERROR,
        "There is no map, so nobody is deferred.",
        "write one with cyrusquota-export -o",
    ),
    Kind(
        "map-foreign",
        ERROR,
        "What is in the place of the map was not written by cyrusquota-export, which will not"
        " overwrite it.",
        "move it away and write a map, or name the map with --map",
    ),
    Kind(
        "map-old",
        ERROR,
        "The map is older than the router believes, so nobody is deferred.",
        "see why the export has not renewed it: run it by hand and read what it says",
    ),
    Kind(
        "map-late",
        WARNING,
        "The map has not been renewed for half of the time that the router believes it, or where"
        " nothing looks at its age, for an hour.",
        "see why the export has not renewed it: run it by hand and read what it says",
    ),
    Kind(
        "map-future",
        WARNING,
        "The time of the map lies in the future, so it would be believed for too long.",
        "set the clock, then touch the map",
    ),
    Kind(
        "map-link",
        NOTE,
        "The map is a symbolic link, which the export follows only with --follow-links.",
        "give the export --follow-links, or the name of the file itself",
    ),
    Kind(
        "map-closed",
        ERROR,
        "The Exim user may not read the map, or not go through a directory above it, so nobody is"
        " deferred.",
        "chmod o+r the map, chmod o+x the directory",
    ),
    Kind(
        "map-open",
        WARNING,
        "Users other than its owner may write the map, or replace it, and so decide who gets mail.",
        "chmod go-w",
    ),
    Kind(
        "map-source",
        NOTE,
        "The map was made from another source than imapd.conf leads to.",
        "see that the export reads what Cyrus uses",
    ),
    Kind(
        "map-behind",
        NOTE,
        "The map is not what an export would write now; users become full and make room all the"
        " time, and who is exempt is not known here.",
        "nothing, if the numbers are small or --exempt explains them",
    ),
    Kind(
        "map-held",
        WARNING,
        "An export would change so much of the map that it would be held back.",
        "see to the source; if this is right: cyrusquota-export --accept-change",
    ),
)
