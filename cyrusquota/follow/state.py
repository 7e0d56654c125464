"""Who is full now: a full reading, kept up to date with what changed since.

The outcome is what a full reading would find at any time, or `needs_scan` says that only one can
tell: where a root that others inherit has changed its standing, where the list of those others
changes while one is full, and for all questions that are not answered root by root.
"""

from __future__ import annotations

from typing import Mapping, Optional

from cyrusquota.cyrus.names import inbox_of, inbox_owner, recipient
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.scan import FollowConfig, RootStatus, Scan
from cyrusquota.parse import value as values
from cyrusquota.site import mailboxes
from cyrusquota.verdicts.evaluator import is_delivered_to

ByKey = Mapping[bytes, Optional[bytes]]


class FollowState:
    """The standing of everybody who matters; `map_entries` has the entries of the map."""

    def __init__(self, config: FollowConfig, scan: Scan, map_entries: MapEntries) -> None:
        self.config = config
        self._own = dict(scan.own)
        self._others = dict(scan.others)
        self._live = scan.live
        self._owners = scan.owners
        self._unread = scan.unread
        #: Records that are no roots.
        self._others_than_roots = (scan.quota.records or scan.roots) - scan.roots
        self._bad_others = sum(status.is_bad for status in self._others.values())
        self.roots = scan.roots
        self.map_entries = map_entries
        self.needs_scan = False
        for number, (to, value, over) in enumerate(scan.fixed):
            map_entries.put(str(number), to, value, over=over)
        for name in self._own:
            self._list(name)

    def counted(self, records: Optional[int]) -> None:
        """There are so many records by now."""
        if records is not None:
            self.roots = max(0, records - self._others_than_roots)
            # Where nothing can be read any more, that is an error.
            self.needs_scan |= not self.roots and records > 0

    def quotas(self, by_key: ByKey) -> None:
        """These roots changed; None is one that is gone."""
        if not self.config.is_by_root:
            self.needs_scan |= bool(by_key)
            return
        for key, value in by_key.items():
            name = key.decode("utf-8", "surrogateescape")
            status = None if value is None else self._root_status(key, value)
            self.needs_scan |= key in self._unread
            if inbox_owner(name) is not None:
                self._set_own(name, status)
            elif inbox_of(name) is None:
                self._set_other(name, status)

    def inboxes(self, by_key: ByKey) -> None:
        """These rows of the mailboxes changed."""
        rows = ((key, value or b"") for key, value in by_key.items())
        for inbox in mailboxes.inboxes(rows):
            # Who inherits depends on where the header is, too.
            self.needs_scan |= bool(self._bad_others) or not self.config.is_by_root
            if self._live is not None and is_delivered_to(inbox) != (inbox.name in self._live):
                (self._live.add if is_delivered_to(inbox) else self._live.discard)(inbox.name)
                self._list(inbox.name)

    def _root_status(self, key: bytes, value: bytes) -> Optional[RootStatus]:
        problems: list[CyrusQuotaError] = []
        root = values.quota_root(key, value, on_problem=problems.append)
        # A full reading says what is wrong, and counts the roots.
        self.needs_scan |= bool(problems) or root is None
        return None if root is None else self.config.status(root)

    def _set_own(self, name: str, status: Optional[RootStatus]) -> None:
        if self._owners is not None and (status is not None) != (name in self._owners):
            (self._owners.discard if status is None else self._owners.add)(name)
            self.needs_scan |= bool(self._bad_others)
        before = self._own.pop(name, None)
        if status is not None and status.is_bad:
            self._own[name] = status
        if before != self._own.get(name):
            self._list(name)

    def _set_other(self, name: str, status: Optional[RootStatus]) -> None:
        before = self._others.pop(name, None)
        if status is not None:
            self._others[name] = status
        if before == status:
            return
        had = self._bad_others
        self._bad_others += _badness(status) - _badness(before)
        self.needs_scan |= bool(had or self._bad_others)

    def _list(self, name: str) -> None:
        """Let the listing say what is known of the user whose own root is `name`."""
        status = self._own.get(name)
        is_here = self._live is None or name in self._live
        to = recipient(name, self.config.query.naming) if status and is_here else None
        if to is None or status is None:
            self.map_entries.drop(name)
        else:
            self.map_entries.put(name, to, status.value, over=status.over)


def _badness(status: Optional[RootStatus]) -> int:
    return int(status is not None and status.is_bad)
