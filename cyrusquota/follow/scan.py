"""One full reading: who is full, and from where to go on."""

from __future__ import annotations

import os
from typing import Iterator, Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrus.names import Recipient, inbox_of, inbox_owner
from cyrusquota.cyrusdb import Snapshot, follow
from cyrusquota.errors import CyrusQuotaError, DataError, OnProblem
from cyrusquota.follow.digest_set import DigestSet
from cyrusquota.maps.values import MapValues
from cyrusquota.quota import QuotaRoot
from cyrusquota.site import mailboxes, source
from cyrusquota.site.mailboxes import Inbox
from cyrusquota.site.site import Site
from cyrusquota.site.source import Source
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query, is_delivered_to


@attrs.frozen
class RootStatus:
    """Whether a root is full, whether it is near that, and what the map says then."""

    over: bool = False
    near: bool = False
    value: bytes = b""

    @property
    def is_bad(self) -> bool:
        return self.over or self.near


@attrs.frozen
class FollowConfig:
    """What is to be known all the time: who, of these roots and mailboxes, by this policy.

    `map_values` say what a map tells of each.
    """

    source: Source
    query: Query
    map_values: MapValues

    def status(self, root: QuotaRoot) -> RootStatus:
        over, near = bool(self.query.policy.over(root)), bool(self.map_values.wanted.near(root))
        value = self.map_values.value(root, over, is_certain=over) if over or near else b""
        return RootStatus(over, near, value)

    @property
    def is_by_root(self) -> bool:
        """Whether a changed root or INBOX tells all about its user."""
        return not evaluator.needs_all(self.query)


@attrs.frozen
class Scan:
    """What a full reading found.

    `own` has the users' own roots that are bad, with an INBOX here or not, `others` the roots that
    others inherit, and `fixed` the recipients whose verdict follows from anything but their own
    root, with what the map says of them, and whether they are over. `live` are the INBOXes here
    (None: not known), `owners` the users with a root of their own, kept only where a full root is
    inherited. `unread` are keys whose record could not be read.
    """

    own: dict[str, RootStatus]
    others: dict[str, RootStatus]
    fixed: tuple[tuple[Recipient, bytes, bool], ...]
    live: Optional[DigestSet]
    owners: Optional[DigestSet]
    roots: int
    problems: tuple[str, ...]
    unread: frozenset[bytes]
    quota: Snapshot
    mailboxes: Optional[Snapshot]


def scanned(config: FollowConfig) -> Scan:
    """Read everything; raises whatever keeps that from being done."""
    return _Reading(config).scan()


@attrs.define
class _Reading:
    config: FollowConfig
    own: dict[str, RootStatus] = attrs.field(factory=dict)
    others: dict[str, RootStatus] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    unread: set[bytes] = attrs.field(factory=set)
    owners: list[str] = attrs.field(factory=list)
    live: list[str] = attrs.field(factory=list)
    roots: int = 0
    quota: Optional[Snapshot] = None
    mailboxes: Optional[Snapshot] = None

    def scan(self) -> Scan:
        config, site = self.config, self.config.query.site
        found = evaluator.evaluate_roots(
            self._roots(),
            attrs.evolve(
                config.query,
                site=None if site is None else site.with_inboxes(self._inboxes),
                on_problem=self._problem,
            ),
        )
        verdicts = [
            verdict
            for verdict in found
            if not config.is_by_root or inbox_owner(verdict.root.name) is None
        ]
        fixed = tuple(
            (to, value, bool(verdict.over))
            for verdict, (to, value) in zip(verdicts, config.map_values.values(verdicts))
        )
        if not self.roots and self.problems:
            raise config.source.unreadable()
        is_inherited = any(status.is_bad for status in self.others.values())
        assert self.quota is not None
        return Scan(
            self.own if config.is_by_root else {},
            self.others,
            fixed,
            None if site is None else DigestSet(self.live),
            DigestSet(self.owners) if is_inherited else None,
            self.roots,
            tuple(self.problems),
            frozenset(self.unread),
            self.quota,
            self.mailboxes,
        )

    def _problem(self, problem: CyrusQuotaError) -> None:
        self.problems.append(str(problem))
        if isinstance(problem, DataError) and problem.place.key is not None:
            self.unread.add(problem.place.key)

    def _roots(self) -> Iterator[QuotaRoot]:
        opened = self.config.source.opened
        assert opened is not None
        with opened(self._problem) as db:
            for root in source.roots_in(db, self._problem):
                self._note(root)
                yield root
            self.quota = db.snapshot()

    def _note(self, root: QuotaRoot) -> None:
        self.roots += 1
        if inbox_owner(root.name) is not None:
            self.owners.append(root.name)
            status = self.config.status(root)
            if status.is_bad:
                self.own[root.name] = status
        elif inbox_of(root.name) is None:
            self.others[root.name] = self.config.status(root)

    def _inboxes(self, on_problem: OnProblem) -> Iterator[Inbox]:
        site = self.config.query.site
        assert site is not None
        for inbox in self._rows(site, on_problem):
            if is_delivered_to(inbox):
                self.live.append(inbox.name)
            yield inbox

    def _rows(self, site: Site, on_problem: OnProblem) -> Iterator[Inbox]:
        path = site.path
        if path is None or not os.path.exists(path) or not follow.is_followed(path):
            yield from site.inboxes(on_problem)
            return
        with cyrusdb.open(path, on_problem=on_problem) as db:
            yield from mailboxes.inboxes(db)
            self.mailboxes = db.snapshot()
