"""Kinds of findings of Exim, and of what runs the export."""

from __future__ import annotations

from cyrusquota.doctor.kinds import ERROR, NOTE, OK, WARNING, Kind

EXIM_KINDS = (
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

SCHEDULE_KINDS = (
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
