"""All that the doctor may find: one table, and a finding of each kind is one line."""

from __future__ import annotations

import enum
from typing import Iterable, Mapping, Optional

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


@attrs.frozen
class Finding:
    """What is so, and what to do about it."""

    kind: Kind
    said: str
    do: str = ""


OK, NOTE, WARNING, ERROR = Severity.OK, Severity.NOTE, Severity.WARNING, Severity.ERROR

_CYRUS = (
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

_MAP = (
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

_EXIM = (
    Kind("exim", OK, "Exim is here, and its configuration is sound."),
    Kind(
        "no-exim",
        NOTE,
        "No Exim was found or looked at, so nothing can be said of its side.",
        "name it with --exim; for Postfix see postfix/README.md",
    ),
    Kind(
        "exim-bad",
        ERROR,
        "Exim does not answer, or refuses its configuration.",
        "exim -bV says what is wrong",
    ),
    Kind("router", OK, "A router asks the map, before the one that delivers."),
    Kind(
        "router-missing",
        ERROR,
        "No router asks a map, so nobody is deferred.",
        "put exim/router.conf before the router that delivers to Cyrus; see exim/README.md",
    ),
    Kind(
        "router-map",
        ERROR,
        "The router asks another file than the map that was named.",
        "set CYRUSQUOTA_MAP, or the -o of the export",
    ),
    Kind(
        "router-format",
        ERROR,
        "The router looks the map up in another format than it has.",
        "write the map with the --map-format that the router looks up",
    ),
    Kind(
        "router-late",
        ERROR,
        "The router stands behind the one that delivers to Cyrus, and is never asked.",
        "put it before that router",
    ),
    Kind(
        "router-delivers",
        WARNING,
        "The router also acts when mail is delivered, so mail that was accepted waits in the"
        " queue.",
        "verify_only",
    ),
    Kind(
        "router-senders",
        ERROR,
        "The router also acts when senders are verified, so a full user cannot send.",
        "no_verify_sender",
    ),
    Kind(
        "router-recipients",
        ERROR,
        "The router does not act when recipients are verified, so nobody is deferred.",
        "take no_verify_recipient or no_verify out",
    ),
    Kind(
        "router-closed",
        ERROR,
        "Where there is no map, the router defers everybody, as nothing keeps it from looking"
        " into a file that is not there.",
        "the condition of exim/router.conf",
    ),
    Kind(
        "router-ageless",
        WARNING,
        "The router does not look at the age of the map, so one that nobody renews any more"
        " defers users for ever.",
        "the condition of exim/router.conf",
    ),
    Kind(
        "router-defer",
        ERROR,
        "The router may not defer, so those who are listed get an error that says nothing.",
        "allow_defer",
    ),
    Kind(
        "router-fail",
        ERROR,
        "The map has entries that refuse for good, and the router may not, or does not know them.",
        "the router in exim/refuse, or write the map without --refuse",
    ),
    Kind(
        "router-open",
        WARNING,
        "The router lets the map do more than defer: whoever can write it can have files written"
        " and commands run.",
        "forbid_blackhole, forbid_file, forbid_include, forbid_pipe",
    ),
    Kind(
        "router-suffix",
        NOTE,
        "The router does not take +folder off, so jane+folder is not looked up as jane.",
        "local_part_suffix = +* and local_part_suffix_optional, if Exim accepts such addresses",
    ),
    Kind(
        "router-key",
        WARNING,
        "The map has addresses for keys, and the router looks for local parts only.",
        "the router in exim/address, or a CYRUSQUOTA_KEY with the domain",
    ),
    Kind(
        "acl-verify",
        ERROR,
        "No ACL verifies recipients, so the router is never asked.",
        "require verify = recipient in the ACL for RCPT",
    ),
    Kind(
        "acl-notes",
        ERROR,
        "The router only takes a note of who is full, and no ACL reads it.",
        "require acl = cyrusquota_defer behind verify = recipient; see exim/exemptions",
    ),
    Kind(
        "error-details",
        WARNING,
        "smtp_return_error_details is on, which shows strangers file names when a lookup fails.",
        "take it out, Exim 4.67 and later need it for nothing here",
    ),
    Kind("full-deferred", OK, "A full user is deferred."),
    Kind(
        "full-accepted",
        ERROR,
        "Exim accepts a user whom the map lists.",
        "exim -d+route -bv with the address shows which router took it",
    ),
    Kind(
        "full-otherwise",
        WARNING,
        "Exim defers or refuses a full user, but with another text than the map has for him.",
        "name the domain of your users with --domain; exim -d+route -bv with the address says more",
    ),
    Kind(
        "full-nobody",
        NOTE,
        "Nobody is full, so it could not be tried whether Exim defers.",
        "nothing",
    ),
    Kind("good-accepted", OK, "A user who has room is accepted."),
    Kind(
        "good-deferred",
        ERROR,
        "Exim defers a user who has room and is not listed, and so may defer everybody.",
        "exim -d+route -bv with the address, mainlog and paniclog say why",
    ),
    Kind(
        "good-refused",
        WARNING,
        "Exim refuses a user who has an INBOX here, so the address that was tried may be wrong.",
        "name the domain of your users with --domain",
    ),
)

_SCHEDULE = (
    Kind("schedule", OK, "Something keeps the map fresh."),
    Kind(
        "schedule-missing",
        WARNING,
        "No crontab and no enabled unit was found that runs cyrusquota-export.",
        "a line in root's crontab, or systemd/cyrusquota-export.timer",
    ),
    Kind(
        "schedule-disabled",
        ERROR,
        "There is a unit for the export, and it is not enabled.",
        "systemctl enable --now",
    ),
    Kind(
        "schedule-failed",
        ERROR,
        "The unit of the export has failed.",
        "systemctl status and journalctl -u say why",
    ),
    Kind(
        "schedule-map",
        WARNING,
        "The export writes another file than the map that was looked at.",
        "make the -o of the export and the router's CYRUSQUOTA_MAP agree",
    ),
    Kind(
        "schedule-seldom",
        WARNING,
        "The export runs so seldom that the router stops believing the map in between.",
        "run it every five minutes, or raise CYRUSQUOTA_MAX_AGE",
    ),
    Kind(
        "schedule-twice",
        NOTE,
        "More than one job writes the map.",
        "keep one; two do no harm, but one of them is likely forgotten",
    ),
    Kind(
        "schedule-program",
        ERROR,
        "The program that the schedule names is not there, or not in the PATH that cron has.",
        "give the whole path of cyrusquota-export",
    ),
    Kind(
        "schedule-ignored",
        WARNING,
        "cron ignores files in /etc/cron.d that have a dot in their name.",
        "rename the file",
    ),
    Kind(
        "not-seen",
        WARNING,
        "Something could not be looked at for want of rights.",
        "run the doctor as root",
    ),
)

#: Every kind of finding by its name, in the order in which they are looked for.
KINDS: Mapping[str, Kind] = {kind.id: kind for kind in (*_CYRUS, *_MAP, *_EXIM, *_SCHEDULE)}


def finding(kind: str, said: str, do: Optional[str] = None) -> Finding:
    """A finding of a kind; `do` is what to do in this case, where that can be said more exactly."""
    return Finding(KINDS[kind], said, KINDS[kind].do if do is None else do)


def worst(findings: Iterable[Finding]) -> Severity:
    """The severity of the worst."""
    return max((one.kind.severity for one in findings), key=lambda one: one.value, default=OK)
