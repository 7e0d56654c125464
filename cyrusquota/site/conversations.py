"""Conversations totals, which count instead of the quota database's figures where
quota_use_conversations is on (imap/conversations.c, imap/quota_db.c).

Every user has a database of his own; its `Q` record says how many messages he has and how large
they are together, each distinct message counted once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrus.names import inbox_owner
from cyrusquota.errors import NoSuchSource
from cyrusquota.site.mailboxes import Inbox, directory_letter

_KEY = b"Q"
#: Read exactly as Cyrus does: whatever deviates counts as nothing.
_VALUE = re.compile(rb"1 %\(E ([0-9]{1,19}) S ([0-9]{1,19})\)")


@attrs.frozen
class Totals:
    """What a user has: messages, and their bytes."""

    messages: int = 0
    size: int = 0


def path(name: str, inbox: Optional[Inbox], base: str, *, full: bool) -> Path:
    """Where the totals of the user whose INBOX is `name` are kept.

    `inbox` is that INBOX's row, live or not, None if it has none; `base` is the configdirectory
    and `full` fulldirhash (hashimapspool plays no part here).
    """
    if inbox is not None and inbox.uniqueid is not None:
        unique = inbox.uniqueid
        return Path(base, "user", "uuid", unique[:1], unique[1:2], unique, "conversations.db")
    owner = inbox_owner(name)
    domain, local = owner if owner is not None else (None, "")
    within = [] if domain is None else ["domain", directory_letter(domain, full=full), domain]
    return Path(base, *within, "user", directory_letter(local, full=full), f"{local}.conversations")


def totals(file: Path) -> Totals:
    """The totals kept in `file`; none where there is no file, no record or a malformed one.

    Raises a `CyrusQuotaError` for a database that is there but cannot be read or is damaged.
    """
    try:
        with cyrusdb.open(file) as db:
            value = dict(db).get(_KEY, b"")
    except NoSuchSource:
        return Totals()
    match = _VALUE.fullmatch(value)
    return Totals() if match is None else Totals(int(match[1]), int(match[2]))
