"""Hosts of Cyrus on which no user's quota counts: frontends of a murder, and replicas.

A frontend hands mail to the backends. It has rows for their mailboxes, and no quota roots. A
replica has copies of everything, and gets no mail before it is promoted.
"""

from __future__ import annotations

import os
from typing import Optional

from cyrusquota.cyrus.cyrusconf import programs
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.errors import CyrusQuotaError, printable
from cyrusquota.site.site import Site


def elsewhere(
    conf: ImapdConf, site: Optional[Site], *, with_replicas: bool = True
) -> Optional[str]:
    """Return why the quotas that count are on other hosts, and what to do, or None if they are not.

    Whatever cannot be read here is no reason: the caller is about to read it, and reports it.
    """
    cyrus_conf = os.path.join(os.path.dirname(conf.path), "cyrus.conf")
    if _is_frontend(conf, site):
        return (
            f"{printable(conf.path)}: this is a frontend of a murder, with mupdate_server and no"
            " INBOX of its own, so it has no quotas; run cyrusquota-export on each backend, with"
            " --follow and --store, and cyrusquota-mirror here"
        )
    if with_replicas and _is_replica(conf, cyrus_conf):
        return (
            f"{printable(cyrus_conf)}: this is a replica, with sync_server and no sync_client, so"
            " mail is delivered elsewhere; run cyrusquota-export on the master, and here once this"
            " host is promoted"
        )
    return None


def _is_frontend(conf: ImapdConf, site: Optional[Site]) -> bool:
    """Return whether there are INBOXes, and all of them on other hosts."""
    if conf.get("mupdate_server") is None or site is None:
        return False
    is_known = False
    try:
        for inbox in site.inboxes(_ignore):
            if inbox.is_live:
                return False
            is_known = True
    except CyrusQuotaError:
        return False
    return is_known


def _is_replica(conf: ImapdConf, cyrus_conf: str) -> bool:
    """Return whether others replicate to this host, and it to nobody.

    A host can be both: the replica of some users, and the master of others.
    """
    names = (name for name in conf.options if name == "sync_host" or name.endswith("_sync_host"))
    found = programs(cyrus_conf)
    return "sync_server" in found and "sync_client" not in found and not any(names)


def _ignore(problem: CyrusQuotaError) -> None:
    pass
