"""The kinds of findings about Cyrus and about the map."""

from __future__ import annotations

import enum

import attrs

from cyrusquota.cyrus.repairs import SET_LIMIT


class Severity(enum.Enum):
    """How bad a finding is.

    With an error, the wrong users are deferred, or nobody is. A warning may become an error, or
    could not be ruled out. A note is for information.
    """

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def exit_status(self) -> int:
        """Return the exit status when this is the worst finding."""
        return max(0, self.value - Severity.NOTE.value)


@attrs.frozen
class Kind:
    """A kind of finding: its name, how bad it is, what it means, and what to do.

    `commands` are those of a shell that do it, with words in capitals for what differs. A finding
    is held back where one of its `causes`, other kinds, was found too.
    """

    id: str
    severity: Severity
    means: str
    do: str = ""
    commands: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


OK, NOTE, WARNING, ERROR = Severity.OK, Severity.NOTE, Severity.WARNING, Severity.ERROR

#: Where they are found, the export fails, so the map is not renewed.
EXPORT_FAILS = ("imapd-conf-bad", "quota-db-bad", "quota-db-new", "quota-db-tool", "mailboxes-bad")
#: Where they are found, the map is missing, or gets old.
_NOT_RENEWED = (
    *EXPORT_FAILS,
    "map-link",
    "map-open",
    "schedule-disabled",
    "schedule-failed",
    "schedule-program",
    "schedule-map",
)
#: Where they are found, the map lists nobody.
_NOBODY = ("quota-db-empty", "no-inboxes", "catch-all")

CYRUS_KINDS = (
    Kind("imapd-conf", OK, "imapd.conf can be read."),
    Kind(
        "imapd-conf-bad",
        ERROR,
        "imapd.conf is missing or has an error, so only an export with --db can run.",
        "correct it, or name the imapd.conf that Cyrus uses with -C",
    ),
    Kind(
        "imapd-conf-twice",
        WARNING,
        "imapd.conf sets an option twice. cyrusquota uses the last one; Cyrus does not start.",
        "remove one of the two lines",
    ),
    Kind(
        "lmtpd-services",
        WARNING,
        "cyrus.conf has several lmtpd services, and imapd.conf gives them different options.",
        "name the service that Exim delivers to: cyrusquota-export --service NAME",
    ),
    Kind("quota-db", OK, "The quota database can be read."),
    Kind(
        "quota-db-bad",
        ERROR,
        "The quota database is missing, damaged as a whole, or cannot be read.",
        "check that quota_db, quota_db_path and configdirectory are those that Cyrus uses",
    ),
    Kind(
        "quota-db-new",
        WARNING,
        "There is no quota database yet: Cyrus was never started, or no limit was ever set. The"
        " export fails until there is one.",
        "start Cyrus and set a limit; if both was done, check that the file system is mounted, and"
        " that imapd.conf is the one that Cyrus uses",
    ),
    Kind(
        "quota-db-tool",
        ERROR,
        "The quota database is in a format that cyrusquota cannot read (BerkeleyDB, SQL server).",
        "pipe a dump into the export",
        ("cyr_dbtool DATABASE BACKEND show | cyrusquota-export --dump - -o MAP",),
    ),
    Kind(
        "quota-db-records",
        WARNING,
        "Some quota roots or headers cannot be read. The users concerned are not listed.",
        "run the export without writing; each message says how to repair it",
        ("cyrusquota-export --dry-run",),
    ),
    Kind(
        "quota-db-empty",
        WARNING,
        "There are no quota roots, so nobody is ever over quota.",
        "check that this is the database that Cyrus uses, or set quotas",
    ),
    Kind(
        "header-root",
        WARNING,
        "The header of an INBOX names another quota root than the user's own, or one that does not"
        " exist. lmtpd goes by the header, and with no such root the user is unlimited.",
        SET_LIMIT,
    ),
    Kind(
        "quota-db-open",
        WARNING,
        "Any user of this host can write the quota database, and so decide who gets mail.",
        "take that right away",
        ("chmod o-w DATABASE",),
    ),
    Kind(
        "mailboxes-bad",
        ERROR,
        "mailboxes.db cannot be read, so the export stops. It is needed for users without a quota"
        " root of their own.",
        "check mboxlist_db_path, or do without it",
        ("cyrusquota-export -o MAP --no-mailboxes",),
    ),
    Kind(
        "no-inboxes",
        WARNING,
        "There are quota roots, but mailboxes.db has no INBOX on this server, so nobody is ever"
        " listed.",
        "in a murder, run the export on the backends",
    ),
    Kind(
        "murder",
        NOTE,
        "This host is part of a murder (mupdate_server).",
        "run the export on the backends, not on frontends; Exim needs the map of the right one",
    ),
    Kind(
        "strict-quota",
        NOTE,
        "lmtp_strict_quota is on: lmtpd also refuses users who have reached their MESSAGE limit,"
        " and messages that are larger than the space left.",
        "the export lists such users; to defer messages that are too large, write the map with"
        " --headroom, and use the router in exim/headroom",
    ),
    Kind(
        "totals",
        NOTE,
        "quota_use_conversations is on: for STORAGE and MESSAGE, Cyrus compares conversations"
        " totals with the limits. `quota` does not print them.",
        "nothing; the export reads the totals, and cyrusquota list shows both",
    ),
    Kind(
        "totals-frozen",
        WARNING,
        "quota_use_conversations is on and conversations is off, so the totals are never updated,"
        " or are 0.",
        "switch conversations on, then run `ctl_conversationsdb -b USER` for each user; or switch"
        " quota_use_conversations off",
    ),
    Kind(
        "perm-failure",
        NOTE,
        "lmtp_over_quota_perm_failure is on: Cyrus rejects mail permanently, the map defers it.",
        "if Exim should reject permanently too: use --refuse, and the router in exim/refuse",
    ),
    Kind(
        "catch-all",
        WARNING,
        "lmtp_catchall_mailbox is set. While that INBOX has room, lmtpd accepts mail for users who"
        " are over quota, and for users who do not exist, and delivers it there: the mail goes"
        " astray. The map then lists nobody.",
        "remove lmtp_catchall_mailbox, so that such mail is refused",
    ),
    Kind(
        "max-messages",
        NOTE,
        "mailbox_maxmessages_email is set. lmtpd accepts the recipient, and refuses the message"
        " after DATA if the INBOX has that many messages, when Exim has already accepted it.",
        "limit MESSAGE of the quota root instead; cyrusquota explain shows the number of messages",
    ),
    Kind(
        "capitals",
        NOTE,
        "lmtp_downcase_rcpt is off: Jane and jane are two users for Cyrus, and one key in a map.",
        "nothing, unless there are such users; they are listed only when both are over quota",
    ),
    Kind(
        "virtual-domains",
        NOTE,
        "virtdomains is on: the keys of the map are addresses, not local parts.",
        "use the router in exim/address, or a CYRUSQUOTA_KEY with the domain",
    ),
)

MAP_KINDS = (
    Kind("map", OK, "The map exists, was written by cyrusquota, and is fresh."),
    Kind(
        "map-missing",
        ERROR,
        "There is no map, so nobody is deferred.",
        "write one",
        ("cyrusquota-export -o MAP",),
        (*_NOT_RENEWED, "router-map"),
    ),
    Kind(
        "map-foreign",
        ERROR,
        "The file was not written by cyrusquota, and the export does not overwrite it.",
        "move it away and write a map, or name the map with --map",
    ),
    Kind(
        "map-old",
        ERROR,
        "The map is too old for the router, so nobody is deferred.",
        "run the export by hand, and read its messages",
        ("cyrusquota-export -v -o MAP",),
        (*_NOT_RENEWED, "map-held", "schedule-seldom"),
    ),
    Kind(
        "map-late",
        WARNING,
        "The map has not been renewed for half of the time that the router allows, or for an hour"
        " if the router does not check its age.",
        "run the export by hand, and read its messages",
        ("cyrusquota-export -v -o MAP",),
        (*_NOT_RENEWED, "map-held", "schedule-seldom"),
    ),
    Kind(
        "map-future",
        WARNING,
        "The modification time of the map is in the future, so it would stay valid too long.",
        "set the clock, then renew the map",
        ("touch MAP",),
    ),
    Kind(
        "map-link",
        NOTE,
        "The map is a symbolic link. The export replaces its target only with --follow-links.",
        "let the export follow it, or give it the name of the file itself",
        ("cyrusquota-export -o MAP --follow-links",),
    ),
    Kind(
        "map-closed",
        ERROR,
        "The Exim user cannot read the map, or cannot enter a directory above it, so nobody is"
        " deferred.",
        "let the Exim user read the map, and enter the directories above it",
        ("chmod o+r MAP", "chmod o+x DIRECTORY"),
    ),
    Kind(
        "map-open",
        WARNING,
        "Users other than its owner can write or replace the map, and so decide who gets mail.",
        "take that right away",
        ("chmod go-w FILE",),
    ),
    Kind(
        "map-source",
        NOTE,
        "The map was made from another source than the one that imapd.conf names.",
        "check that the export reads the quota database that Cyrus uses",
    ),
    Kind(
        "map-behind",
        NOTE,
        "An export would write another map now. This is normal: users cross their limits all the"
        " time, and the doctor does not know who is exempt.",
        "nothing, if the numbers are small or --exempt explains them; this shows who it is",
        ("cyrusquota-export -o MAP --dry-run",),
        (*_NOBODY, "quota-db-records", "map-late", "map-old"),
    ),
    Kind(
        "map-held",
        WARNING,
        "An export would change so many entries that the change guard would hold it back.",
        "see with the first command who is concerned; if the change is right, accept it once with"
        " the second",
        ("cyrusquota-export -o MAP --dry-run", "cyrusquota-export -o MAP --accept-change 100"),
        (*_NOBODY, "quota-db-records"),
    ),
)
