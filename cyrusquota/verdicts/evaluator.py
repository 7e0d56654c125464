"""Evaluate quota roots: which users Cyrus refuses mail for, and why.

Without a site only users with a quota root of their own are known. With a site it is every user
with a live INBOX here, and which quota root governs them depends on the daemon: lmtpd goes by the
root that the header of the INBOX names, smmapd by the nearest root in the quota database.

Headers are read only where the answer may matter: where the user's own root, or one above it that
users inherit, is full or near it. A header that names nothing, or a root without a row, makes its
user unlimited. What other roots a header may name is for the doctor to find.

Conversations totals, where they count, can be larger than the figures in the quota database as well
as smaller (they stand still while `conversations` is off, and the figures may be stale). So they
are read for each user whose own root limits STORAGE or MESSAGE, unless another resource decides.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, AbstractSet, Iterable, Iterator, Optional, Sequence, Union

import attrs

from cyrusquota.cyrus.names import (
    Naming,
    Recipient,
    ancestors,
    ascii_lower,
    inbox_of,
    recipient,
)
from cyrusquota.errors import CyrusQuotaError, DataError, OnProblem, raise_problem
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.site.mailboxes import Inbox, is_delivered_to
from cyrusquota.verdicts.policies import LMTPD, Policy, Reserve

if TYPE_CHECKING:
    from cyrusquota.site.site import Site

#: INBOXes whose headers are read at a time.
_BATCH = 1 << 13


@attrs.frozen
class Query:
    """What is asked of the quota roots: by which policy, how near to full, of which users.

    `naming` says how mail addresses users. Without `site` only users with a quota root of their own
    are known. `trusts_rows` says not to read the header of an INBOX whose user has a root of their
    own. `catchall` is the internal name of the INBOX that lmtp_catchall_mailbox names. Problems
    that do not end the evaluation go to `on_problem`.
    """

    naming: Naming
    policy: Policy = LMTPD
    reserve: Reserve = Reserve()  # noqa: RUF009
    site: Optional[Site] = None
    on_problem: OnProblem = raise_problem
    trusts_rows: bool = False
    catchall: Optional[str] = None

    @property
    def headers(self) -> Optional[str]:
        """What is done about headers of users with a root of their own: `read` or `trust-rows`.

        None where headers do not count, or no mailboxes are known.
        """
        if self.site is None or not self.policy.by_header:
            return None
        return "trust-rows" if self.trusts_rows or not self.site.has_headers else "read"


@attrs.frozen
class Verdict:
    """A recipient who is full, or near it: the root that governs them and what it lacks room for.

    `over` is empty for a user who is only near. `is_approximate` says that the mailbox header,
    which lmtpd would have gone by, could not be read.
    """

    recipient: Recipient
    root: QuotaRoot
    over: tuple[Resource, ...]
    near: tuple[Resource, ...] = ()
    is_approximate: bool = False


def evaluate_roots(
    roots: Iterable[QuotaRoot], query: Query, unreadable: AbstractSet[str] = frozenset()
) -> Iterator[Verdict]:
    """Return the users whom the query's policy refuses mail for, or who are near that.

    Without a site only users with a root of their own are found; each full root above them, whose
    users are unknown, is then reported as `Unresolved`. `unreadable` may gain names while the roots
    are read: of those that have a row, but in bad format. smmapd refuses their users otherwise.
    """
    evaluator = Evaluator(query, unreadable)
    if query.site is None:
        return evaluator.settled(evaluator.by_roots(roots))
    for root in roots:
        evaluator.add(root)
    return evaluator.settled(evaluator.by_inboxes(query.site.inboxes(query.on_problem)))


def noting(unreadable: set[str], on_problem: OnProblem) -> OnProblem:
    """Return `on_problem`, which then also adds the key of a record in bad format to a set."""

    def note(problem: CyrusQuotaError) -> None:
        if isinstance(problem, DataError) and problem.place.key is not None:
            unreadable.add(problem.place.key.decode("utf-8", "surrogateescape"))
        on_problem(problem)

    return note


def needs_all(query: Query) -> bool:
    """Return whether a verdict may depend on roots with room, so that a prefilter would not do.

    Totals are kept elsewhere, and where Cyrus heeds capitals and the map does not, one user's
    verdict depends on others'.
    """
    site = query.site
    return not query.naming.downcase or (site is not None and site.uses_totals)


def is_inherited(root: QuotaRoot) -> bool:
    """Return whether users without a root of their own can be below this one: `user`, a domain."""
    rest = root.name.rpartition("!")[2]
    return rest == "user" or (not rest and "!" in root.name)


class Unresolved(CyrusQuotaError):
    """A full root whose users inherit it, and are unknown."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"quota root {name!r} is full, which refuses mail for the users below it who have no"
            " root of their own; who they are is not known, and they are not listed: name an"
            " imapd.conf with -C, or mailboxes.db with --mailboxes"
        )


@attrs.define
class Evaluator:
    """Holds the quota roots that matter, and finds the users whom they govern."""

    query: Query
    #: The names of roots whose value is in bad format. More may come while roots are added.
    unreadable: AbstractSet[str] = frozenset()
    #: Roots that are full or near it, by name.
    bad: dict[str, QuotaRoot] = attrs.field(init=False, factory=dict)
    #: The names of those among them that users inherit.
    inherited: set[str] = attrs.field(init=False, factory=set)
    #: Roots that the conversations totals decide about, until these are read.
    _by_totals: dict[str, QuotaRoot] = attrs.field(init=False, factory=dict)
    #: The names of all roots.
    _names: set[str] = attrs.field(init=False, factory=set)
    #: Recipients whose mail is accepted, in lower case; kept only where Cyrus heeds case.
    _good: set[str] = attrs.field(init=False, factory=set)
    _has_catchall: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        # Without mailboxes a catch-all is taken for granted.
        self._has_catchall = self._catchall is not None and self.query.site is None

    @property
    def _catchall(self) -> Optional[str]:
        # smmapd knows no catch-all.
        return self.query.catchall if self.query.policy.by_header else None

    def by_roots(self, roots: Iterable[QuotaRoot]) -> Iterator[Verdict]:
        """Return the verdicts on the users with a root of their own, where no others are known."""
        for root in roots:
            if not is_inherited(root):
                yield from self._verdict(root.name, root)
            elif self._is_bad(root):
                self.inherited.add(root.name)
        for name in sorted(self.inherited):
            self.query.on_problem(Unresolved(name))

    def add(self, root: QuotaRoot) -> None:
        """Take in one quota root. The verdicts follow from all of them (`by_inboxes`)."""
        self._names.add(root.name)
        if self._depends_on_totals(root):
            self._by_totals[root.name] = root
        elif self._is_bad(root):
            self.bad[root.name] = root
            if is_inherited(root):
                self.inherited.add(root.name)

    def by_inboxes(self, inboxes: Iterable[Inbox]) -> Iterator[Verdict]:
        """Return the verdicts on the users with these INBOXes. One that is not live is left out."""
        live = filter(is_delivered_to, inboxes)
        for batch in iter(lambda: list(itertools.islice(live, _BATCH)), []):
            asked = list(filter(self._depends_on_header, batch))
            named = dict(zip((inbox.name for inbox in asked), self._headers(asked)))
            for inbox in batch:
                self._has_catchall |= inbox.name == self._catchall
                if inbox.name in named:
                    yield from self._by_header(inbox.name, named[inbox.name])
                else:
                    yield from self._verdict(inbox.name, self._nearest(inbox.name))

    def settled(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        """Leave out the users whose entry would be wrong because of what is known of others.

        While the catch-all takes the mail of users who are full, lmtpd refuses none of it. Where
        Cyrus tells Jane from jane, a map does not, so neither is listed if one of them has room.
        """
        if self.query.naming.downcase and self._catchall is None:
            yield from verdicts
            return
        found = list(verdicts)
        if self._has_catchall:
            return
        for verdict in found:
            if ascii_lower(str(verdict.recipient)) not in self._good:
                yield verdict

    def _depends_on_header(self, inbox: Inbox) -> bool:
        name = inbox.name
        if not self.query.policy.by_header or not self._has_bad_above(name):
            return False
        # Mail for anybody else does not arrive.
        is_addressed = recipient(name, self.query.naming) is not None or name == self._catchall
        return is_addressed and (self.query.headers == "read" or not self._has_row(name))

    def _has_bad_above(self, name: str) -> bool:
        """Return whether the user's own root is bad, or one above it."""
        if self._bad_root(name) is not None:
            return True
        return bool(self.inherited) and not self.inherited.isdisjoint(self._above(name))

    def _above(self, name: str) -> Iterator[str]:
        return ancestors(name, virtdomains=self.query.naming.virtdomains is not False)

    def _has_row(self, name: str) -> bool:
        return name in self._names or name in self.unreadable

    def _nearest(self, name: str) -> Optional[QuotaRoot]:
        """Return the nearest root in the quota database, as smmapd does, if it is bad."""
        if not self._has_bad_above(name):
            return None
        nearest = next(filter(self._has_row, self._above(name)), None)
        return None if nearest is None else self._bad_root(nearest)

    def _headers(self, inboxes: Sequence[Inbox]) -> list[Union[Optional[str], CyrusQuotaError]]:
        return [] if self.query.site is None else self.query.site.header_roots(inboxes)

    def _by_header(
        self, name: str, named: Union[Optional[str], CyrusQuotaError]
    ) -> Iterator[Verdict]:
        if not isinstance(named, CyrusQuotaError):
            yield from self._verdict(name, None if named is None else self._bad_root(named))
            return
        root = self._nearest(name)
        if root is not None:
            self.query.on_problem(Approximate(name, root.name, named))
        yield from self._verdict(name, root, is_approximate=True)

    def _bad_root(self, name: str) -> Optional[QuotaRoot]:
        """Return the root `name` with the figures that count if it is full or near it, or None."""
        root = self._by_totals.pop(name, None)
        if root is not None and self.query.site is not None:
            try:
                root = enforced(root, self.query.site, self.query.on_problem)
            except CyrusQuotaError as error:
                self.query.on_problem(error)
            else:
                if self._is_bad(root):
                    self.bad[name] = root
        return self.bad.get(name)

    def _is_bad(self, root: QuotaRoot) -> bool:
        return bool(self.query.policy.over(root) or self.query.reserve.near(root))

    def _verdict(
        self, name: str, root: Optional[QuotaRoot], is_approximate: bool = False
    ) -> Iterator[Verdict]:
        """Return the verdict on a user whose root is `root`, if it is bad."""
        over = () if root is None else self.query.policy.over(root)
        near = () if root is None else self.query.reserve.near(root)
        is_bad = bool(over or near)
        if not is_bad and self.query.naming.downcase:
            return
        to = recipient(name, self.query.naming)
        if over and name == self._catchall and not is_approximate:
            self._has_catchall = False
        if to is None:
            return
        if root is not None and is_bad:
            yield Verdict(to, root, over, near, is_approximate)
        else:
            self._good.add(ascii_lower(str(to)))

    def _depends_on_totals(self, root: QuotaRoot) -> bool:
        site = self.query.site
        if site is None or not site.uses_totals or inbox_of(root.name) is None:
            return False
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
    """Return `root` with the usage that Cyrus checks: conversations totals, where they count.

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
