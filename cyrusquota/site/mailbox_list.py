"""Read what `ctl_mboxlist -d` prints: text up to Cyrus 3.4, JSON since 3.6 (imap/ctl_mboxlist.c).

The text has a line for each mailbox, `NAME TAB TYPE PARTITION ACL`, as the database of old versions
has it; 2.2 leaves the type out. Names are internal in both.
"""

from __future__ import annotations

import re
from typing import BinaryIO, Iterator

from cyrusquota.cyrus.names import inbox_owner
from cyrusquota.errors import BadDump, OnProblem, Place, raise_problem
from cyrusquota.parse import dump, json_members
from cyrusquota.parse.text_stream import TextStream
from cyrusquota.site.mailboxes import LEGACY, MAIL, Inbox, inboxes

#: 2.2: `NAME TAB PARTITION TAB ACL`.
_UNTYPED = re.compile(rb"[^ \t]+(?=\t)")
_ADVICE = "make the list again with: ctl_mboxlist -d"


def from_dump(
    stream: BinaryIO,
    *,
    source: str = "-",
    on_problem: OnProblem = raise_problem,
) -> Iterator[Inbox]:
    """Return every INBOX in a dump, live or not.

    A line or row in bad format goes to `on_problem` as `BadDump`. Raises `BadDump` where the JSON
    as a whole cannot be read.
    """
    text = TextStream(stream, BadDump, source)
    first = text.start()
    if first.lstrip().startswith(b"{"):
        yield from _from_json(first, stream, source, on_problem)
        return
    records = dump.records_from(first, text, source=source, on_problem=on_problem)
    typed = ((key, b"0 " + value if _UNTYPED.match(value) else value) for key, value in records)
    yield from inboxes(typed)


def _from_json(
    first: bytes,
    stream: BinaryIO,
    source: str,
    on_problem: OnProblem,
) -> Iterator[Inbox]:
    for offset, name, row in json_members.members(first, stream, source):
        if inbox_owner(name) is None:
            continue
        if not isinstance(row, dict):
            place = Place(source, offset=offset)
            on_problem(BadDump(f"an object for {name!r}", place=place, advice=_ADVICE))
            continue
        kind, partition = str(row.get("mbtype", "")).encode(), row.get("partition")
        unique = row.get("uniqueid")
        yield Inbox(
            name,
            is_live=bool(partition)
            and "!" not in str(partition)
            and MAIL.issuperset(kind)
            and row.get("server") is None,
            partition=str(partition) if partition else None,
            uniqueid=str(unique) if unique and LEGACY not in kind else None,
            is_modern=True,
        )
