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
    """A kind of finding: its name, how bad it is, what it means, and what to do."""

    id: str
    severity: Severity
    means: str
    do: str = ""


OK, NOTE, WARNING, ERROR = Severity.OK, Severity.NOTE, Severity.WARNING, Severity.ERROR

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
        "quota-db-tool",
        ERROR,
        "The quota database is in a format that cyrusquota cannot read (BerkeleyDB, SQL server).",
        "pipe a dump into the export: cyrusquota-export --dump -",
    ),
    Kind(
        "quota-db-records",
        WARNING,
        "Some quota roots or headers cannot be read. The users concerned are not listed.",
        "run cyrusquota-export --dry-run; each message says how to repair it",
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
        "chmod o-w",
    ),
    Kind(
        "mailboxes-bad",
        ERROR,
        "mailboxes.db cannot be read, so the export stops. It is needed for users without a quota"
        " root of their own.",
        "check mboxlist_db_path, or run cyrusquota-export --no-mailboxes",
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
        "write one: cyrusquota-export -o FILE",
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
        "find out why the export has not renewed it: run it by hand and read its messages",
    ),
    Kind(
        "map-late",
        WARNING,
        "The map has not been renewed for half of the time that the router allows, or for an hour"
        " if the router does not check its age.",
        "find out why the export has not renewed it: run it by hand and read its messages",
    ),
    Kind(
        "map-future",
        WARNING,
        "The modification time of the map is in the future, so it would stay valid too long.",
        "set the clock, then touch the map",
    ),
    Kind(
        "map-link",
        NOTE,
        "The map is a symbolic link. The export replaces its target only with --follow-links.",
        "run the export with --follow-links, or with the name of the file itself",
    ),
    Kind(
        "map-closed",
        ERROR,
        "The Exim user cannot read the map, or cannot enter a directory above it, so nobody is"
        " deferred.",
        "chmod o+r the map, chmod o+x the directory",
    ),
    Kind(
        "map-open",
        WARNING,
        "Users other than its owner can write or replace the map, and so decide who gets mail.",
        "chmod go-w",
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
        "nothing, if the numbers are small or --exempt explains them",
    ),
    Kind(
        "map-held",
        WARNING,
        "An export would change so many entries that the change guard would hold it back.",
        "check the quota database; if the change is right: cyrusquota-export --accept-change",
    ),
)
