"""The kinds of findings about Exim, and about what runs the export."""

from __future__ import annotations

from cyrusquota.doctor.kinds import ERROR, EXPORT_FAILS, NOTE, OK, WARNING, Kind

EXIM_KINDS = (
    Kind("exim", OK, "Exim is installed, and its configuration is valid."),
    Kind(
        "no-exim",
        NOTE,
        "No Exim was found or checked.",
        "name it with --exim; for Postfix, see postfix/README.md",
    ),
    Kind(
        "exim-bad",
        ERROR,
        "Exim does not run, or its configuration has an error.",
        "correct what Exim says about it",
        ("exim -bV",),
    ),
    Kind("exim-start", OK, "Exim has read its configuration since it was changed."),
    Kind(
        "exim-stale",
        WARNING,
        "The configuration was changed after the Exim daemon last read it, so the daemon may answer"
        " otherwise than the doctor's tests, which use the new one.",
        "reload Exim",
        ('kill -HUP "$(cat PIDFILE)"',),
    ),
    Kind(
        "exim-start-unknown",
        NOTE,
        "It is not known when the Exim daemon last read its configuration: the main log does not"
        " say when a daemon started. The daemon may answer otherwise than the doctor's tests.",
        "reload Exim if its configuration was changed",
    ),
    Kind(
        "delivery-missing",
        WARNING,
        "No router of this Exim delivers to Cyrus, neither over LMTP nor by its program deliver.",
        "copy the router cyrus and the transport cyrus_lmtp from exim/exim.conf, or name with"
        " --exim-config the configuration of the Exim that delivers",
    ),
    Kind("router", OK, "A router looks recipients up in the map, before the router that delivers."),
    Kind(
        "router-missing",
        ERROR,
        "No router uses a map, so nobody is deferred.",
        "put what this prints after the aliases and before the router that delivers to Cyrus, as in"
        " exim/README.md",
        ("cyrusquota router --map MAP",),
    ),
    Kind(
        "router-map",
        ERROR,
        "The router uses another file than the map that was named.",
        "set CYRUSQUOTA_MAP, or change the -o of the export",
    ),
    Kind(
        "router-format",
        ERROR,
        "The router expects another format than the map has.",
        "write the map in the format that the router expects",
        ("cyrusquota-export -o MAP --map-format lsearch",),
    ),
    Kind(
        "router-late",
        ERROR,
        "The router comes after the one that delivers to Cyrus, and is never reached.",
        "move it before that router",
    ),
    Kind(
        "router-aliases",
        WARNING,
        "The router comes before aliases, so mail to a full user is deferred, even if an alias"
        " sends it elsewhere.",
        "move the router after the aliases",
    ),
    Kind(
        "router-domains",
        ERROR,
        "The router does not look up users of a domain that Cyrus has users in, so they are never"
        " deferred.",
        "add the domain to local_domains, or set CYRUSQUOTA_DOMAINS",
    ),
    Kind(
        "router-delivers",
        WARNING,
        "The router is also used for delivery, so accepted mail waits in the queue.",
        "set verify_only",
    ),
    Kind(
        "router-senders",
        ERROR,
        "The router is also used to verify senders, so users who are over quota cannot send.",
        "set no_verify_sender",
    ),
    Kind(
        "router-recipients",
        ERROR,
        "The router is not used to verify recipients, so nobody is deferred.",
        "remove no_verify_recipient or no_verify",
    ),
    Kind(
        "router-closed",
        ERROR,
        "If the map is missing, the router defers everybody, because its condition does not test"
        " for the file.",
        "use the condition of exim/router.conf",
    ),
    Kind(
        "router-ageless",
        WARNING,
        "The router does not check the age of the map, so a map that is no longer renewed defers"
        " users for ever.",
        "use the condition of exim/router.conf",
    ),
    Kind(
        "router-defer",
        ERROR,
        "The router lacks allow_defer, so senders get an error without the text of the map.",
        "set allow_defer",
    ),
    Kind(
        "router-fail",
        ERROR,
        "The map has entries that reject permanently, and the router does not handle them.",
        "use the router in exim/refuse or exim/headroom-refuse, or write the map without --refuse",
    ),
    Kind(
        "router-headroom",
        WARNING,
        "The map has entries with the space left (--headroom), and the router ignores them.",
        "use the router in exim/headroom, or in exim/headroom-refuse for a map by --refuse",
    ),
    Kind(
        "router-open",
        WARNING,
        "The router lets the map do more than defer: it could write files and run commands.",
        "set forbid_blackhole, forbid_file, forbid_include and forbid_pipe",
    ),
    Kind(
        "router-suffix",
        NOTE,
        "The router does not remove +folder, so jane+folder is not looked up as jane.",
        "set local_part_suffix = +* and local_part_suffix_optional, if Exim accepts such addresses",
    ),
    Kind(
        "router-key",
        WARNING,
        "The keys of the map are addresses, and the router looks up local parts only.",
        "use the router in exim/address, or a CYRUSQUOTA_KEY with the domain",
    ),
    Kind(
        "acl-verify",
        ERROR,
        "No ACL verifies recipients, so the router is never reached.",
        "add require verify = recipient to the ACL for RCPT",
    ),
    Kind(
        "acl-notes",
        ERROR,
        "The router only sets $address_data, and no ACL reads it.",
        "add require acl = cyrusquota_defer after verify = recipient; see exim/exemptions",
    ),
    Kind(
        "error-details",
        WARNING,
        "smtp_return_error_details is on: when a lookup fails, senders see file names.",
        "remove it; Exim 4.67 and later do not need it here",
    ),
    Kind(
        "transport-ignores-quota",
        ERROR,
        "A transport tells Cyrus to ignore quotas, so Cyrus refuses nobody for STORAGE or MESSAGE."
        " Entries for these two defer mail that it would accept; it refuses mail for the other two"
        " resources all the same.",
        "remove the option from the transport, or the overquota router",
    ),
    Kind(
        "unknown-accepted",
        WARNING,
        "Exim accepts mail for users who do not exist. lmtpd refuses it later, and Exim sends the"
        " bounce to the sender, who is often forged.",
        'refuse them at RCPT, in one of the ways of exim/README.md under "Unknown users"',
        causes=("catch-all",),
    ),
    Kind("full-deferred", OK, "A user who is over quota is deferred.", causes=("exim-stale",)),
    Kind(
        "full-accepted",
        ERROR,
        "Exim accepts a user who is in the map.",
        "see which router accepted it",
        ("exim -d+route -bv ADDRESS",),
        (
            "map-closed",
            "router-domains",
            "router-format",
            "router-key",
            "router-late",
            "router-recipients",
        ),
    ),
    Kind(
        "full-otherwise",
        WARNING,
        "Exim defers or rejects a user who is over quota, but not with the text in the map.",
        "name the domain of your users with --domain, or see which router it was",
        ("exim -d+route -bv ADDRESS",),
        ("delivery-missing", "good-deferred", "good-refused", "router-defer", "router-domains"),
    ),
    Kind(
        "full-nobody",
        NOTE,
        "Nobody is over quota, so deferral was not tested.",
        "nothing",
        causes=("catch-all", "no-inboxes", "quota-db-empty"),
    ),
    Kind("good-accepted", OK, "A user who has room left is accepted.", causes=("exim-stale",)),
    Kind(
        "good-deferred",
        ERROR,
        "Exim defers a user who has room left and is not listed. It may defer everybody.",
        "see which router deferred it, and read mainlog and paniclog",
        ("exim -d+route -bv ADDRESS",),
        ("router-closed",),
    ),
    Kind(
        "good-refused",
        WARNING,
        "Exim rejects a user who has an INBOX here. The address that was tested may be wrong.",
        "name the domain of your users with --domain, or see which router it was",
        ("exim -d+route -bv ADDRESS",),
        ("delivery-missing", "router-domains"),
    ),
)

SCHEDULE_KINDS = (
    Kind("schedule", OK, "A job renews the map."),
    Kind(
        "schedule-missing",
        WARNING,
        "No cron job or timer was found that runs cyrusquota-export.",
        "add a line such as this to root's crontab, or enable systemd/cyrusquota-export.timer",
        ("*/5 * * * *  cyrusquota-export -o MAP",),
    ),
    Kind(
        "schedule-disabled",
        ERROR,
        "There is a unit for the export, but it is not enabled.",
        "enable it",
        ("systemctl enable --now UNIT",),
    ),
    Kind(
        "schedule-failed",
        ERROR,
        "The unit of the export has failed.",
        "read what it said",
        ("systemctl status UNIT", "journalctl -u UNIT"),
        (*EXPORT_FAILS, "map-foreign", "map-held", "map-link", "map-open", "schedule-program"),
    ),
    Kind(
        "schedule-map",
        WARNING,
        "The export writes another file than the map that was checked.",
        "give the export's -o and the router's CYRUSQUOTA_MAP the same file",
    ),
    Kind(
        "schedule-seldom",
        WARNING,
        "The export runs so rarely that the map becomes too old for the router in between.",
        "run it every five minutes, or raise CYRUSQUOTA_MAX_AGE",
    ),
    Kind(
        "schedule-twice",
        NOTE,
        "More than one job writes the map.",
        "keep one; two do no harm, but one is easily forgotten",
    ),
    Kind(
        "schedule-program",
        ERROR,
        "The job names a program that does not exist, or is not in cron's PATH.",
        "use the full path of cyrusquota-export",
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
        "Something could not be checked because of missing permissions.",
        "run the doctor as root",
    ),
)
