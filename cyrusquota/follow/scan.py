"""Read a whole source once, or some headers: what another process does for the follower."""

from __future__ import annotations

import os
from typing import AbstractSet, Iterator, Mapping, Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrus.names import Recipient, inbox_owner, recipient
from cyrusquota.cyrusdb import Snapshot, follow
from cyrusquota.errors import CyrusQuotaError, DataError, OnProblem
from cyrusquota.follow.digest_set import DigestSet
from cyrusquota.maps.status import Status
from cyrusquota.maps.values import MapValues
from cyrusquota.quota import QuotaRoot
from cyrusquota.site import mailboxes, source
from cyrusquota.site.mailboxes import Inbox, is_delivered_to
from cyrusquota.site.site import Site
from cyrusquota.site.source import Source
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query, Verdict


@attrs.frozen
class RootStatus:
    """The status of the users of a root; None where the root has room."""

    status: Optional[Status] = None

    @property
    def is_bad(self) -> bool:
        return self.status is not None


@attrs.frozen
class FollowConfig:
    """What to follow: a source, the query about it, and which statuses users have by their roots.

    The texts of `map_values` do not count here.
    """

    source: Source
    query: Query
    map_values: MapValues

    def status(self, root: QuotaRoot) -> RootStatus:
        is_over = bool(self.query.policy.over(root))
        if is_over or self.map_values.effective_reserve.near(root):
            return RootStatus(self.map_values.status(root, is_over, is_certain=is_over))
        return RootStatus()

    @property
    def is_by_root(self) -> bool:
        """Whether a verdict follows from a root, an INBOX and its header alone."""
        return not evaluator.needs_all(self.query) and self.query.catchall is None

    @property
    def uses_totals(self) -> bool:
        """Whether verdicts depend on conversations totals, which change without the roots."""
        return self.query.site is not None and self.query.site.uses_totals


@attrs.frozen
class Scan:
    """The result of a full scan.

    `own` has the status of users' own roots that are full or nearly full, with an INBOX here or
    not; `inherited` that of the roots which other users inherit. `confirmed` are the users whose
    verdict follows from their own root. `fixed` are all other recipients who are listed, with
    their status; `fixed_roots` names the roots that govern them.
    `live` are the INBOXes here (None: unknown), `owners` the users with a root of their own, kept
    only while an inherited root is full. `unread` has the keys of records in bad format.
    """

    own: dict[str, RootStatus]
    inherited: dict[str, RootStatus]
    confirmed: frozenset[str]
    fixed: tuple[tuple[Recipient, Status], ...]
    fixed_roots: frozenset[str]
    live: Optional[DigestSet]
    owners: Optional[DigestSet]
    roots: int
    problems: tuple[str, ...]
    unread: frozenset[bytes]
    quota: Snapshot
    mailboxes: Optional[Snapshot]


def scanned(config: FollowConfig) -> Scan:
    """Return a full scan. Raises what reading the source or the mailboxes raises."""
    return _Scanner(config).scan()


@attrs.frozen
class HeaderCheck:
    """What the headers of some INBOXes name: the user's own root (True), or None if unreadable.

    Users without a live INBOX are left out.
    """

    is_own: Mapping[str, Optional[bool]]


def checked_headers(config: FollowConfig, names: AbstractSet[str]) -> HeaderCheck:
    """Read the headers of the INBOXes `names`. Raises what reading the mailboxes raises."""
    site = config.query.site
    assert site is not None
    found = site.named(names, _ignore)
    inboxes = [inbox for inbox in found if inbox.name in names and is_delivered_to(inbox)]
    return HeaderCheck(
        {
            inbox.name: None if isinstance(root, CyrusQuotaError) else root == inbox.name
            for inbox, root in zip(inboxes, site.header_roots(inboxes))
        }
    )


def _ignore(problem: CyrusQuotaError) -> None:
    """Leave it to a full scan to report problems."""


@attrs.define
class _Scanner:
    config: FollowConfig
    own: dict[str, RootStatus] = attrs.field(factory=dict)
    inherited: dict[str, RootStatus] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    unread: set[bytes] = attrs.field(factory=set)
    unreadable: set[str] = attrs.field(factory=set)
    owners: list[str] = attrs.field(factory=list)
    live: list[str] = attrs.field(factory=list)
    roots: int = 0
    quota: Optional[Snapshot] = None
    mailboxes: Optional[Snapshot] = None

    def scan(self) -> Scan:
        config, site = self.config, self.config.query.site
        verdicts = evaluator.evaluate_roots(
            self._roots(),
            attrs.evolve(
                config.query,
                site=None if site is None else site.with_inboxes(self._inboxes),
                on_problem=self._note_problem,
            ),
            self.unreadable,
        )
        confirmed, others = set(), []
        for verdict in verdicts:
            if config.is_by_root and self._is_by_own_root(verdict):
                confirmed.add(verdict.root.name)
            else:
                others.append(verdict)
        if not self.roots and self.problems:
            raise config.source.unreadable()
        is_inherited = any(status.is_bad for status in self.inherited.values())
        assert self.quota is not None
        return Scan(
            self.own if config.is_by_root else {},
            self.inherited,
            frozenset(confirmed),
            tuple(config.map_values.statuses(others)),
            frozenset(verdict.root.name for verdict in others),
            None if site is None else DigestSet(self.live),
            DigestSet(self.owners) if is_inherited else None,
            self.roots,
            tuple(self.problems),
            frozenset(self.unread),
            self.quota,
            self.mailboxes,
        )

    def _is_by_own_root(self, verdict: Verdict) -> bool:
        is_own = recipient(verdict.root.name, self.config.query.naming) == verdict.recipient
        return is_own and not verdict.is_approximate

    def _note_problem(self, problem: CyrusQuotaError) -> None:
        self.problems.append(str(problem))
        if isinstance(problem, DataError) and problem.place.key is not None:
            self.unread.add(problem.place.key)
            self.unreadable.add(problem.place.key.decode("utf-8", "surrogateescape"))

    def _roots(self) -> Iterator[QuotaRoot]:
        opened = self.config.source.opened
        assert opened is not None
        with opened(self._note_problem) as db:
            for root in source.roots_in(db, self._note_problem):
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
        elif evaluator.is_inherited(root):
            self.inherited[root.name] = self.config.status(root)

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
