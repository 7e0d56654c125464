"""Evaluate quota roots: which users Cyrus refuses mail for, and why.

`evaluate_roots` goes through the quota roots once. A root `user.LOCAL` governs that user's INBOX; where
the server's mailboxes are known, users who have no root of their own are judged by the ancestor
that governs them, and users without a live INBOX here are left out.

lmtpd goes by the root that the header of the INBOX names, smmapd by the nearest ancestor in the
quota database. Headers are read only of users whose nearest ancestor is full: with a root of his
own, made by SETQUOTA, a user's header names it; and a header that names nothing, or a root without
a row, makes its user unlimited, which is what not being listed means.

Conversations totals, where they count, can be larger than the quota database's figure as well as
smaller (they stand still while `conversations` is off, and the figure may be stale), so no verdict
follows from the figure. They are read for each user whose own root limits STORAGE or MESSAGE
below what any total can reach, unless another resource decides already; for all others they cannot
change the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus.names import (
    Naming,
    Recipient,
    ancestors,
    ascii_lower,
    inbox_of,
    inbox_owner,
    recipient,
)
from cyrusquota.errors import CyrusQuotaError, OnProblem, raise_problem
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.policies import LMTPD, Policy, Reserve

if TYPE_CHECKING:
    from cyrusquota.site.mailboxes import Inbox
    from cyrusquota.site.site import Site


@attrs.frozen
class Query:
    """What is asked of the quota roots: by whose policy, how near to full, of which users.

    `naming` says how mail addresses users. Without `site` only users who have a root of their own
    are known. Problems that do not end the evaluation go to `on_problem`.
    """

    naming: Naming
    policy: Policy = LMTPD
    reserve: Reserve = Reserve()
    site: Optional[Site] = None
    on_problem: OnProblem = raise_problem


@attrs.frozen
class Verdict:
    """A recipient who is full, or near it: the root that governs him and what it lacks room for.

    `over` is empty for those who are only near. `is_approximate` says that the mailbox header,
    which lmtpd would have gone by, could not be read.
    """

    recipient: Recipient
    root: QuotaRoot
    over: tuple[Resource, ...]
    near: tuple[Resource, ...] = ()
    is_approximate: bool = False


def evaluate_roots(roots: Iterable[QuotaRoot], query: Query) -> Iterator[Verdict]:
    """Return the users whom the query's policy refuses mail for, or who are near that.

    Without a site only users who have a root of their own are found; each full ancestor whose
    users could not be found is then reported as `Unresolved`.
    """
    evaluator = Evaluator(query)
    if query.site is None:
        found = evaluator.by_roots(roots)
    else:
        found = evaluator.by_mailboxes(roots, query.site)
    if query.naming.downcase:
        return found
    # Cyrus tells Jane from jane then, but a map does not: a user who cannot be told apart from
    # another whose mail is not refused is left out.
    bad = list(found)
    return (verdict for verdict in bad if ascii_lower(str(verdict.recipient)) not in evaluator.good)


def needs_all(query: Query) -> bool:
    """Return whether a verdict may depend on roots with room, so that a prefilter would not do.

    Totals are kept elsewhere, and where Cyrus heeds capitals and the map does not, one user's
    verdict depends on others'.
    """
    site = query.site
    return not query.naming.downcase or (site is not None and site.uses_totals)


def is_inherited(root: QuotaRoot) -> bool:
    """Whether users without a root of their own can be below this one: `user`, a domain."""
    rest = root.name.rpartition("!")[2]
    return rest == "user" or (not rest and "!" in root.name)


def is_delivered_to(inbox: Inbox) -> bool:
    """Whether lmtpd delivers mail to an INBOX here."""
    # Since 3.0, lmtpd makes a domain of what follows an @, so user.jane@example^org, the way of
    # 2.x, is out of reach.
    return inbox.is_live and not (inbox.is_modern and "@" in inbox.name)


class Unresolved(CyrusQuotaError):
    """A full ancestor root whose users are not known."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"quota root {name!r} is full, which refuses mail for the users below it who have no"
            " root of their own; who they are is not known, and they are not listed: name an"
            " imapd.conf with -C, or mailboxes.db with --mailboxes"
        )


@attrs.define
class Evaluator:
    """Judges quota roots by a query, and the users who inherit them."""

    query: Query
    #: Recipients whose mail is not refused, folded; kept only where case matters to Cyrus.
    good: set[str] = attrs.field(factory=set)
    #: Roots that are not a user's own, by name: what others inherit.
    _others: dict[str, QuotaRoot] = attrs.field(factory=dict)
    #: Users with a root of their own, who inherit nothing; kept only if there are mailboxes.
    _owners: set[str] = attrs.field(factory=set)

    def by_roots(self, roots: Iterable[QuotaRoot]) -> Iterator[Verdict]:
        """Verdicts on the users who have a root of their own."""
        for root in roots:
            yield from self.by_root(root)
        for root in self._full_ancestors():
            self.query.on_problem(Unresolved(root.name))

    def by_mailboxes(self, roots: Iterable[QuotaRoot], site: Site) -> Iterator[Verdict]:
        """Verdicts on the users who have an INBOX here."""
        own = {root.name: verdict for root in roots for verdict in self.by_root(root)}
        for inbox in site.inboxes(self.query.on_problem):
            if not is_delivered_to(inbox):
                continue
            if inbox.name in own:
                yield own[inbox.name]
            elif inbox.name not in self._owners:
                yield from self._inherited(inbox)

    def by_root(self, root: QuotaRoot) -> Iterator[Verdict]:
        """The verdict on the user whose own root this is, if it is not good."""
        if inbox_owner(root.name) is None:
            if inbox_of(root.name) is None:
                self._others[root.name] = root
            return
        if self.query.site is not None:
            self._owners.add(root.name)
        enforced = self._enforced(root)
        if enforced is not None:
            yield from self._verdict(root.name, enforced)

    def _inherited(self, inbox: Inbox) -> Iterator[Verdict]:
        """The verdict on a user without a root of his own, if it is not good."""
        names = ancestors(inbox.name, virtdomains=self.query.naming.virtdomains is not False)
        governing = next((self._others[name] for name in names if name in self._others), None)
        is_approximate = False
        if governing is not None and self._is_bad(governing) and self.query.policy.by_header:
            governing, is_approximate = self._named(inbox, governing)
        if governing is not None:
            yield from self._verdict(inbox.name, governing, is_approximate)

    def _named(self, inbox: Inbox, governing: QuotaRoot) -> tuple[Optional[QuotaRoot], bool]:
        """The root that the header of `inbox` names, or `governing` where it cannot be read."""
        assert self.query.site is not None
        try:
            named = self.query.site.header_root(inbox)
        except CyrusQuotaError as error:
            self.query.on_problem(Approximate(inbox.name, governing.name, error))
            return governing, True
        return (None if named is None else self._others.get(named)), False

    def _full_ancestors(self) -> Iterator[QuotaRoot]:
        for root in self._others.values():
            if is_inherited(root) and self._is_bad(root):
                yield root

    def _is_bad(self, root: QuotaRoot) -> bool:
        return bool(self.query.policy.over(root) or self.query.reserve.near(root))

    def _verdict(
        self, name: str, root: QuotaRoot, is_approximate: bool = False
    ) -> Iterator[Verdict]:
        over, near = self.query.policy.over(root), self.query.reserve.near(root)
        if not over and not near and self.query.naming.downcase:
            return
        to = recipient(name, self.query.naming)
        if to is not None and (over or near):
            yield Verdict(to, root, over, near, is_approximate)
        elif to is not None:
            self.good.add(ascii_lower(str(to)))

    def _enforced(self, root: QuotaRoot) -> Optional[QuotaRoot]:
        """`root` with the figures that count, or None if they cannot be read."""
        site = self.query.site
        if site is None or not site.uses_totals or not self._can_depend_on_totals(root):
            return root
        try:
            return enforced(root, site, self.query.on_problem)
        except CyrusQuotaError as error:
            self.query.on_problem(error)
            return None

    def _can_depend_on_totals(self, root: QuotaRoot) -> bool:
        limited = root.storage.limit is not None or root.message.limit is not None
        unaffected = attrs.evolve(root, storage=Usage(), message=Usage())
        return limited and not self.query.policy.over(unaffected)


class Approximate(CyrusQuotaError):
    """A verdict that rests on the quota database because a mailbox header could not be read."""

    def __init__(self, inbox: str, root: str, reason: CyrusQuotaError) -> None:
        super().__init__(
            f"{inbox!r} is listed because quota root {root!r} is full, but whether Cyrus goes by it"
            f" is not certain, as the header of the mailbox cannot be read: {reason}"
        )


def enforced(root: QuotaRoot, site: Site, on_problem: OnProblem = raise_problem) -> QuotaRoot:
    """`root` with the usage that Cyrus checks: conversations totals, where they count.

    Raises what `Site.totals` raises.
    """
    inbox = inbox_of(root.name) if site.uses_totals else None
    if inbox is None:
        return root
    totals = site.totals(inbox, on_problem)
    return attrs.evolve(
        root,
        storage=attrs.evolve(root.storage, used=totals.size, exact=True),
        message=attrs.evolve(root.message, used=totals.messages, exact=True),
    )
