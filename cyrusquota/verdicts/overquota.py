"""Policies: whom Cyrus refuses mail for, and why.

`verdicts` goes through the quota roots once. A root `user.LOCAL` governs that user's INBOX; where
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

from typing import TYPE_CHECKING, Iterable, Iterator, Mapping, Optional

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
from cyrusquota.parse.value import Margin, Prefilter
from cyrusquota.quota import QuotaRoot, Resource, Usage

if TYPE_CHECKING:
    from cyrusquota.site.mailboxes import Inbox
    from cyrusquota.site.site import Site


@attrs.frozen
class Policy:
    """A daemon's rule: how much more of each resource it asks room for; others it ignores.

    `by_header` says that it goes by the root which the mailbox header names.
    """

    name: str
    room: Mapping[Resource, int]
    by_header: bool = True

    def over(self, root: QuotaRoot) -> tuple[Resource, ...]:
        """The resources of `root` for which this policy refuses mail."""
        return tuple(
            resource
            for resource, usage in root.usages()
            if resource in self.room and usage.is_over(self.room[resource])
        )


#: lmtpd as it is by default (imap/lmtpd.c, verify_user): any of the four, strictly above the limit.
LMTPD = Policy("lmtpd", dict.fromkeys(Resource, 0))
#: lmtpd with lmtp_strict_quota: room for one more message, here of no size.
LMTPD_STRICT = Policy("lmtpd-strict", {**LMTPD.room, Resource.MESSAGE: 1})
#: smmapd (imap/smmapd.c): room for one more message, and nothing of the other two resources.
SMMAPD = Policy("smmapd", {Resource.STORAGE: 0, Resource.MESSAGE: 1}, by_header=False)

POLICIES = {policy.name: policy for policy in (LMTPD, LMTPD_STRICT, SMMAPD)}


@attrs.frozen
class Reserve:
    """How near to a limit counts as near: less than an amount left, or less than a share of it.

    Amounts are bytes or counts by resource; shares are percent of the limit.
    """

    amounts: Mapping[Resource, int] = attrs.field(factory=dict)
    shares: Mapping[Resource, float] = attrs.field(factory=dict)

    def near(self, root: QuotaRoot) -> tuple[Resource, ...]:
        """The resources of `root` of which something, but less than the reserve, is left."""
        if not self.amounts and not self.shares:
            return ()
        return tuple(
            resource for resource, usage in root.usages() if self._is_near(resource, usage)
        )

    def _is_near(self, resource: Resource, usage: Usage) -> bool:
        if usage.limit is None:
            return False
        left = usage.limit - usage.used
        share = self.shares.get(resource, 0)
        is_little = left < self.amounts.get(resource, 0) or left * 100 < usage.limit * share
        return is_little and left >= 0


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


def verdicts(
    roots: Iterable[QuotaRoot],
    naming: Naming,
    policy: Policy = LMTPD,
    *,
    reserve: Optional[Reserve] = None,
    site: Optional[Site] = None,
    on_problem: OnProblem = raise_problem,
) -> Iterator[Verdict]:
    """Whom `policy` refuses mail for, and who has less than `reserve` left.

    Without `site` only users who have a root of their own are found; each full ancestor whose
    users could not be found is then reported to `on_problem` as `Unresolved`.
    """
    judge = _Judge(naming, policy, reserve or Reserve(), site, on_problem)
    found = judge.by_roots(roots) if site is None else judge.by_mailboxes(roots, site)
    if naming.downcase:
        return found
    # Cyrus tells Jane from jane then, but a map does not: whom it cannot tell apart from somebody
    # whose mail is not refused is left out.
    bad = list(found)
    return (verdict for verdict in bad if ascii_lower(str(verdict.recipient)) not in judge.good)


def own_verdicts(
    roots: Iterable[QuotaRoot],
    naming: Naming,
    policy: Policy,
    *,
    reserve: Reserve,
    site: Site,
    on_problem: OnProblem = raise_problem,
) -> Iterator[Verdict]:
    """The same as `verdicts`, from those roots that `prefilter` lets through, in less time.

    None of them may be inherited (`is_inherited`), because it takes all roots to tell by whom.
    """
    judge = _Judge(naming, policy, reserve, site, on_problem)
    own = {root.name: verdict for root in roots for verdict in judge.by_root(root)}
    for inbox in site.named(own, on_problem):
        if inbox.name in own and is_delivered_to(inbox):
            yield own[inbox.name]


def needs_all(naming: Naming, site: Optional[Site]) -> bool:
    """Whether a verdict may depend on roots with room, so that a sieve would not do.

    Totals are kept elsewhere, and where Cyrus heeds capitals and the map does not, one user's
    verdict depends on others'.
    """
    return not naming.downcase or (site is not None and site.uses_totals)


def is_inherited(root: QuotaRoot) -> bool:
    """Whether users without a root of their own can be below this one: `user`, a domain."""
    rest = root.name.rpartition("!")[2]
    return rest == "user" or (not rest and "!" in root.name)


def is_delivered_to(inbox: Inbox) -> bool:
    """Whether lmtpd delivers mail to an INBOX here."""
    # Since 3.0, lmtpd makes a domain of what follows an @, so user.jane@example^org, the way of
    # 2.x, is out of reach.
    return inbox.is_live and not (inbox.is_modern and "@" in inbox.name)


def prefilter(policy: Policy, reserve: Reserve) -> Prefilter:
    """Lets through every root that `policy` refuses mail for or that has less than `reserve` left.

    That is all that `verdicts` needs without a server, and `own_verdicts` with one, unless it
    `needs_all`.
    """
    margins = {}
    for resource in Resource:
        amount, share = reserve.amounts.get(resource, 0), reserve.shares.get(resource, 0)
        if resource in policy.room or amount or share:
            margins[resource] = Margin(max(amount, policy.room.get(resource, 0)), share)
    return Prefilter(margins)


class Unresolved(CyrusQuotaError):
    """A full ancestor root whose users are not known."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"quota root {name!r} is full, which refuses mail for the users below it who have no"
            " root of their own; who they are is not known, and they are not listed: name an"
            " imapd.conf with -C, or mailboxes.db with --mailboxes"
        )


@attrs.define
class _Judge:
    naming: Naming
    policy: Policy
    reserve: Reserve
    site: Optional[Site]
    on_problem: OnProblem
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
            self.on_problem(Unresolved(root.name))

    def by_mailboxes(self, roots: Iterable[QuotaRoot], site: Site) -> Iterator[Verdict]:
        """Verdicts on the users who have an INBOX here."""
        own = {root.name: verdict for root in roots for verdict in self.by_root(root)}
        for inbox in site.inboxes(self.on_problem):
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
        if self.site is not None:
            self._owners.add(root.name)
        enforced = self._enforced(root)
        if enforced is not None:
            yield from self._verdict(root.name, enforced)

    def _inherited(self, inbox: Inbox) -> Iterator[Verdict]:
        """The verdict on a user without a root of his own, if it is not good."""
        names = ancestors(inbox.name, virtdomains=self.naming.virtdomains is not False)
        governing = next((self._others[name] for name in names if name in self._others), None)
        is_approximate = False
        if governing is not None and self._is_bad(governing) and self.policy.by_header:
            governing, is_approximate = self._named(inbox, governing)
        if governing is not None:
            yield from self._verdict(inbox.name, governing, is_approximate)

    def _named(self, inbox: Inbox, governing: QuotaRoot) -> tuple[Optional[QuotaRoot], bool]:
        """The root that the header of `inbox` names, or `governing` where it cannot be read."""
        assert self.site is not None
        try:
            named = self.site.header_root(inbox)
        except CyrusQuotaError as error:
            self.on_problem(Approximate(inbox.name, governing.name, error))
            return governing, True
        return (None if named is None else self._others.get(named)), False

    def _full_ancestors(self) -> Iterator[QuotaRoot]:
        for root in self._others.values():
            if is_inherited(root) and self._is_bad(root):
                yield root

    def _is_bad(self, root: QuotaRoot) -> bool:
        return bool(self.policy.over(root) or self.reserve.near(root))

    def _verdict(
        self, name: str, root: QuotaRoot, is_approximate: bool = False
    ) -> Iterator[Verdict]:
        over, near = self.policy.over(root), self.reserve.near(root)
        if not over and not near and self.naming.downcase:
            return
        to = recipient(name, self.naming)
        if to is not None and (over or near):
            yield Verdict(to, root, over, near, is_approximate)
        elif to is not None:
            self.good.add(ascii_lower(str(to)))

    def _enforced(self, root: QuotaRoot) -> Optional[QuotaRoot]:
        """`root` with the figures that count, or None if they cannot be read."""
        site = self.site
        if site is None or not site.uses_totals or not self._can_depend_on_totals(root):
            return root
        try:
            return enforced(root, site, self.on_problem)
        except CyrusQuotaError as error:
            self.on_problem(error)
            return None

    def _can_depend_on_totals(self, root: QuotaRoot) -> bool:
        limited = root.storage.limit is not None or root.message.limit is not None
        unaffected = attrs.evolve(root, storage=Usage(), message=Usage())
        return limited and not self.policy.over(unaffected)


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
