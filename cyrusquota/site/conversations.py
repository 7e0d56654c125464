"""Read conversations totals (imap/conversations.c, imap/quota_db.c).

Where quota_use_conversations is on, they count instead of the figures in the quota database. Each
user has a conversations database; its `Q` record has the number and the total size of their
messages, where copies of a message count once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrus.names import inbox_owner
from cyrusquota.errors import AnyPath, NoSuchSource
from cyrusquota.site.mailboxes import Inbox, directory_letter

_KEY = b"Q"
#: Cyrus takes exactly this form; any other value counts as no messages.
_VALUE = re.compile(rb"1 %\(E ([0-9]{1,19}) S ([0-9]{1,19})\)")


@attrs.frozen
class Totals:
    """The number of a user's messages, and their size in bytes."""

    messages: int = 0
    size: int = 0


def path(name: str, inbox: Optional[Inbox], base: str, *, full: bool) -> Path:
    """Return the conversations database of the user whose INBOX is `name`.

    `inbox` is the row of that INBOX, live or not, or None without one. `base` is the
    configdirectory, `full` says that fulldirhash is on (hashimapspool plays no part here).
    """
    if inbox is not None and inbox.uniqueid is not None:
        unique = inbox.uniqueid
        return Path(base, "user", "uuid", unique[:1], unique[1:2], unique, "conversations.db")
    owner = inbox_owner(name)
    domain, local = owner if owner is not None else (None, "")
    within = [] if domain is None else ["domain", directory_letter(domain, full=full), domain]
    return Path(base, *within, "user", directory_letter(local, full=full), f"{local}.conversations")


def totals(file: AnyPath) -> Totals:
    """Return the totals in `file`; 0 without a file, without a record, or for a malformed record.

    Raises a `CyrusQuotaError` for a database that exists but cannot be read, or is damaged.
    """
    try:
        with cyrusdb.open(file) as db:
            value = dict(db).get(_KEY, b"")
    except NoSuchSource:
        return Totals()
    match = _VALUE.fullmatch(value)
    return Totals() if match is None else Totals(int(match[1]), int(match[2]))
