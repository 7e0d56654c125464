"""Keep a full scan up to date with what changed since.

`map_entries` is what a full scan would give at any time. Where only a full scan can tell,
`needs_scan` is set: when a root that others inherit becomes full or has room again, when the users
who inherit one change while it is full, and for queries that are not answered root by root.

Where lmtpd goes by headers, users are listed by their own root only while their header is known to
name it. `unchecked` are the users whose header has to be read before they are listed.
"""

from __future__ import annotations

from typing import AbstractSet, Collection, Mapping, Optional

from cyrusquota.cyrus.names import Recipient, inbox_owner, recipient
from cyrusquota.cyrusdb.follow import Gap, in_gaps
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.scan import FollowConfig, HeaderCheck, RootStatus, Scan
from cyrusquota.parse import value as values
from cyrusquota.quota import QuotaRoot
from cyrusquota.site import mailboxes
from cyrusquota.site.mailboxes import is_delivered_to
from cyrusquota.verdicts.evaluator import is_inherited

ByKey = Mapping[bytes, Optional[bytes]]


class FollowState:
    """The status of every root that matters, and the entries of the map that follow from it."""

    def __init__(self, config: FollowConfig, scan: Scan, map_entries: MapEntries) -> None:
        self.config = config
        self._own = dict(scan.own)
        self._inherited = dict(scan.inherited)
        self._live = scan.live
        self._owners = scan.owners
        self._unread = scan.unread
        self._fixed_roots = scan.fixed_roots
        #: Records that are no roots.
        self._other_records = (scan.quota.records or scan.roots) - scan.roots
        self._bad_inherited = sum(status.is_bad for status in self._inherited.values())
        #: Users whose header named their own root when it was last read.
        self._confirmed = set(scan.confirmed)
        #: Users whose header did not. Only a full scan finds out what it names.
        self._astray: set[str] = set()
        self._astray = set(self.to_check() - self._confirmed)
        self.unchecked: set[str] = set()
        self.roots = scan.roots
        self.map_entries = map_entries
        self.needs_scan = False
        for number, (to, status) in enumerate(scan.fixed):
            map_entries.put(str(number), to, status)
        for name in self._own:
            self._list(name)

    @property
    def rests_on_headers(self) -> bool:
        """Whether only a full scan can tell what other headers say by now."""
        return self.config.query.policy.by_header and bool(self._bad_inherited or self._astray)

    def to_check(self) -> frozenset[str]:
        """Return the users whose header has to name their own root for their entry."""
        if self.config.query.headers != "read":
            return frozenset()
        names = {name for name in self._own if self._recipient(name) is not None}
        return frozenset(names - self._astray)

    def note_headers(self, names: AbstractSet[str], check: HeaderCheck) -> None:
        """Take over what the headers of the users `names` say."""
        self.unchecked -= names
        for name in names:
            is_own = check.is_own.get(name, False)
            if is_own:
                self._confirmed.add(name)
            elif is_own is not None or name not in self._confirmed:
                self._confirmed.discard(name)
                self._astray.add(name)
            # What else a header names, and what is wrong with it, is found by a full scan.
            self.needs_scan |= not is_own and name in self._own
            self._list(name)

    def forget_headers(self, names: AbstractSet[str]) -> None:
        """Forget what the headers of all but `names` say."""
        self._confirmed &= names

    def note_records(self, records: Optional[int]) -> None:
        """Take over the number of records there are by now, if it is known."""
        if records is not None:
            self.roots = max(0, records - self._other_records)
            # A source in which nothing can be read any more is an error.
            self.needs_scan |= not self.roots and records > 0

    def note_roots(self, by_key: ByKey) -> None:
        """Take over roots that changed; the value of a deleted one is None."""
        if not self.config.is_by_root:
            self.needs_scan |= bool(by_key)
            return
        for key, value in by_key.items():
            name = key.decode("utf-8", "surrogateescape")
            status = None if value is None else self._root_status(key, value)
            self.needs_scan |= key in self._unread or name in self._fixed_roots
            if inbox_owner(name) is not None:
                self._set_own(name, status)
            elif is_inherited(QuotaRoot(name)):
                self._set_inherited(name, status)

    def note_deletions(self, gaps: Collection[Gap]) -> None:
        """Take over that no root is left in some parts of the database."""
        if not gaps:
            return
        # Who has a root of their own is kept without their names.
        self.needs_scan |= self._owners is not None or not self.config.is_by_root
        names = {*self._own, *self._inherited, *self._fixed_roots}
        keys = {name.encode("utf-8", "surrogateescape") for name in names} | self._unread
        gone, is_sure = in_gaps(keys, gaps)
        self.needs_scan |= not is_sure
        self.note_roots(dict.fromkeys(gone))

    def note_inboxes(self, by_key: ByKey) -> None:
        """Take over rows of mailboxes.db that changed."""
        rows = ((key, value or b"") for key, value in by_key.items())
        for inbox in mailboxes.inboxes(rows):
            # Who inherits a root depends on where the header is, too.
            self.needs_scan |= bool(self._bad_inherited) or not self.config.is_by_root
            self.needs_scan |= inbox.name in self._astray
            if self._live is not None and is_delivered_to(inbox) != (inbox.name in self._live):
                (self._live.add if is_delivered_to(inbox) else self._live.discard)(inbox.name)
                self._list(inbox.name)

    def _root_status(self, key: bytes, value: bytes) -> Optional[RootStatus]:
        problems: list[CyrusQuotaError] = []
        root = values.quota_root(key, value, on_problem=problems.append)
        # A full scan reports what is wrong, and counts the roots.
        self.needs_scan |= bool(problems) or root is None
        return None if root is None else self.config.status(root)

    def _set_own(self, name: str, status: Optional[RootStatus]) -> None:
        if self._owners is not None and (status is not None) != (name in self._owners):
            (self._owners.discard if status is None else self._owners.add)(name)
            self.needs_scan |= bool(self._bad_inherited)
        before = self._own.pop(name, None)
        if status is not None and status.is_bad:
            self._own[name] = status
        if before != self._own.get(name):
            self.needs_scan |= name in self._astray
            self._list(name)

    def _set_inherited(self, name: str, status: Optional[RootStatus]) -> None:
        before = self._inherited.pop(name, None)
        if status is not None:
            self._inherited[name] = status
        if before == status:
            return
        had = self._bad_inherited
        self._bad_inherited += _badness(status) - _badness(before)
        self.needs_scan |= bool(had or self._bad_inherited)

    def _recipient(self, name: str) -> Optional[Recipient]:
        """Return the recipient whose INBOX is `name`, or None if there is no such INBOX here."""
        if self._live is None or name in self._live:
            return recipient(name, self.config.query.naming)
        return None

    def _list(self, name: str) -> None:
        """Let the map say what is known of the user whose own root is `name`."""
        own = self._own.get(name)
        status = None if own is None else own.status
        to = None if status is None else self._recipient(name)
        is_confirmed = name in self._confirmed or self.config.query.headers != "read"
        if to is None or status is None or name in self._astray:
            self.unchecked.discard(name)
            self.map_entries.drop(name)
        elif not is_confirmed:
            self.unchecked.add(name)
            self.map_entries.drop(name)
        else:
            self.map_entries.put(name, to, status)


def _badness(status: Optional[RootStatus]) -> int:
    return int(status is not None and status.is_bad)
