"""The kinds of findings about several hosts: the engine, the stores, and the mirror."""

from __future__ import annotations

from cyrusquota.doctor.kinds import ERROR, OK, WARNING, Kind
from cyrusquota.maps.installed import MIRROR_MAX_AGE

ENGINE_KINDS = (
    Kind("engine", OK, "The engine that hosts share answers, and has the functions."),
    Kind(
        "engine-options",
        ERROR,
        "What [engine] of the settings file or --engine says cannot be followed.",
        "correct it as the message says",
    ),
    Kind(
        "engine-unreachable",
        ERROR,
        "The engine does not answer. After a minute nobody is deferred on the MXes.",
        "check that it runs, and the network; a unit needs IPAddressAllow= for its address",
    ),
    Kind(
        "engine-forbidden",
        ERROR,
        "The engine does not let this host in, or one of them does not accept the other's"
        " certificate.",
        "check user, password-file and ca-file of [engine]",
    ),
    Kind(
        "engine-misfit",
        ERROR,
        "The server is no Redis or Valkey, or lacks the functions.",
        "cyrusquota engine functions | redis-cli -x FUNCTION LOAD REPLACE, then redis-cli SAVE;"
        " -h, --tls and --user are as in docs/many-hosts.md",
    ),
    Kind(
        "engine-functions",
        WARNING,
        "The functions in the server are of another version than this program.",
        "load those of the newest version: cyrusquota engine functions",
    ),
    Kind(
        "engine-plaintext",
        WARNING,
        "plaintext-over-network is set: everybody on the way to the engine can read the password,"
        " and list users as full.",
        "use rediss:// in url, and remove it",
    ),
    Kind(
        "engine-rights",
        WARNING,
        "The user at the engine may do more than it needs. Who has its password could stop the"
        " server, or write other stores.",
        "give it the rights that `cyrusquota engine acl` prints",
    ),
    Kind(
        "engine-evicts",
        WARNING,
        "The server removes data when its memory is full, and with it whole stores.",
        "set maxmemory-policy to noeviction in redis.conf",
    ),
    Kind(
        "store-silent",
        ERROR,
        "Nobody writes to the store of this host, so nobody of it is deferred on the MXes.",
        "systemctl enable --now cyrusquota.service, and look at its messages",
    ),
    Kind(
        "store-taken",
        ERROR,
        "Another host publishes the store of this one.",
        "stop one of the two publishers, or give this host a store of its own",
    ),
    Kind(
        "store-elsewhere",
        ERROR,
        "A frontend of a murder, or a replica that was not promoted, is set up to publish.",
        "remove store from [engine] on this host, until it is promoted",
    ),
    Kind(
        "stores-missing",
        ERROR,
        "Stores that should be there are not written, so nobody of them is deferred.",
        "look at cyrusquota.service on their backends, or take them out of expect",
    ),
    Kind(
        "stores-unreadable",
        ERROR,
        "A store holds something that no publisher writes, so it does not count.",
        "restart its publisher, which writes everything again; find out who else writes there",
    ),
    Kind(
        "mirror-stopped",
        ERROR,
        "cyrusquota-mirror does not run here, so the map is not renewed.",
        "systemctl enable --now cyrusquota-mirror.service, and look at its messages",
    ),
    Kind(
        "mirror-max-age",
        WARNING,
        "The maximum age of the map does not fit a mirror, which renews it every half a minute. If"
        " it is long, users stay deferred for long when the mirror stops; if it is very short, the"
        " router ignores a good map.",
        f"set CYRUSQUOTA_MAX_AGE to {MIRROR_MAX_AGE}"
        f" (cyrusquota router --max-age {MIRROR_MAX_AGE})",
    ),
)
