"""What all quota roots together come to, counted as they pass.

Memory grows with the number of domains and not with that of the roots: totals, counters, a
histogram of fixed size, and a heap of the fullest. What is said here is of roots and their figures;
which users are refused mail is for `evaluator.verdicts` to say, since a root may be nobody's own,
or a mailbox be gone.
"""

from __future__ import annotations

import heapq
from typing import Container, Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus.names import domain_of, inbox_owner
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.policies import LMTPD, Policy

#: Percent of the limit from which on a root is near it.
NEAR = 90.0
#: Percent that one step of the histogram is wide.
STEP = 10
STEPS = 100 // STEP


@attrs.define
class Totals:
    """The roots of one domain. Bytes are of STORAGE; what is negative counts as nothing.

    `promised` adds up the limits, `used` what all roots use, those without a limit included, of
    which there are `unlimited`, using `used_unlimited`. `over` has the roots that are over in any
    resource, `users` those that are a user's own.
    """

    roots: int = 0
    unlimited: int = 0
    over: int = 0
    promised: int = 0
    used: int = 0
    used_unlimited: int = 0
    users: int = 0

    def add(self, root: QuotaRoot, *, is_over: bool) -> None:
        """Count one more root."""
        storage = root.storage
        self.roots += 1
        self.over += is_over
        self.users += inbox_owner(root.name) is not None
        self.used += max(0, storage.used)
        if storage.limit is None:
            self.unlimited += 1
            self.used_unlimited += max(0, storage.used)
        else:
            self.promised += max(0, storage.limit)


@attrs.frozen
class Fullest:
    """A root and the resource it is fullest in; `share` is use over limit, 1.0 at the limit."""

    share: float
    resource: Resource
    root: QuotaRoot

    @property
    def usage(self) -> Usage:
        """How much of the resource is used, and its limit."""
        return dict(self.root.usages())[self.resource]

    def __lt__(self, other: Fullest) -> bool:
        """Whether this is less full; of two that are as full, the one with the later name is."""
        if self.share != other.share:
            return self.share < other.share
        return self.root.name > other.root.name


@attrs.define
class Summary:
    """Counts roots under a policy; `near` is the percent of a limit from which on one is near it.

    `limited`, `over` and `near_limit` are numbers of roots by resource; a root that is over is not
    near as well. `unlimited` has the roots without any limit, `over_roots` and `near_roots` those
    that are over, or only near, in any resource. `histogram` counts the roots that have a limit by
    the resource they are fullest in: `STEPS` steps of `STEP` percent, the last one with 100 % in
    it, and a further one for those above their limit.
    """

    policy: Policy = LMTPD
    near: float = NEAR
    keep: int = 20
    roots: int = 0
    unlimited: int = 0
    over_roots: int = 0
    near_roots: int = 0
    limited: dict[Resource, int] = attrs.field(factory=lambda: dict.fromkeys(Resource, 0))
    over: dict[Resource, int] = attrs.field(factory=lambda: dict.fromkeys(Resource, 0))
    near_limit: dict[Resource, int] = attrs.field(factory=lambda: dict.fromkeys(Resource, 0))
    #: By domain; None is the site itself, that is names without a domain.
    domains: dict[Optional[str], Totals] = attrs.field(factory=dict)
    histogram: list[int] = attrs.field(factory=lambda: [0] * (STEPS + 1))
    _heap: list[Fullest] = attrs.field(init=False, factory=list)

    def passing(self, roots: Iterable[QuotaRoot]) -> Iterator[QuotaRoot]:
        """`roots`, each counted on its way."""
        for root in roots:
            self.add(root)
            yield root

    def add(self, root: QuotaRoot) -> None:
        """Count one more root."""
        self.roots += 1
        full = fullest(root)
        over = self.policy.over(root) if full is not None else ()
        self._domain(root).add(root, is_over=bool(over))
        if full is None:
            self.unlimited += 1
            return
        for kind, usage in root.usages():
            self.limited[kind] += usage.limit is not None
        self._count_states(root, over)
        self._rank(full)

    def fullest(self) -> list[Fullest]:
        """The `keep` fullest roots, fullest first, then by name."""
        return sorted(self._heap, reverse=True)

    def total(self) -> Totals:
        """All domains together."""
        parts = [attrs.astuple(totals) for totals in self.domains.values()]
        return Totals(*map(sum, zip(*parts)))

    def _domain(self, root: QuotaRoot) -> Totals:
        domain = domain_of(root.name)
        totals = self.domains.get(domain)
        if totals is None:
            totals = self.domains[domain] = Totals()
        return totals

    def _count_states(self, root: QuotaRoot, over: tuple[Resource, ...]) -> None:
        near = [kind for kind in near_limit(root, self.policy, self.near) if kind not in over]
        for kind in over:
            self.over[kind] += 1
        for kind in near:
            self.near_limit[kind] += 1
        self.over_roots += bool(over)
        self.near_roots += bool(near and not over)

    def _rank(self, full: Fullest) -> None:
        self.histogram[_step(full.usage)] += 1
        if len(self._heap) < self.keep:
            heapq.heappush(self._heap, full)
        elif self._heap and self._heap[0] < full:
            heapq.heappushpop(self._heap, full)


def fullest(root: QuotaRoot, among: Container[Resource] = tuple(Resource)) -> Optional[Fullest]:
    """What `root` is fullest in, of the resources `among`; None without a limit on any."""
    found: Optional[Fullest] = None
    for kind, usage in root.usages():
        if usage.limit is None or kind not in among:
            continue
        used = share(usage)
        if found is None or used > found.share:
            found = Fullest(used, kind, root)
    return found


def near_limit(root: QuotaRoot, policy: Policy, percent: float) -> tuple[Resource, ...]:
    """The resources `policy` goes by of which `percent` of the limit is used, or more."""
    return tuple(
        kind for kind, usage in root.usages() if kind in policy.room and usage.reaches(percent)
    )


def share(usage: Usage) -> float:
    """Use over limit, 1.0 at the limit; with a limit of 0, infinite as soon as there is any use."""
    if usage.limit is None:
        return 0.0
    if usage.limit <= 0:
        return float("inf") if usage.is_over() else 1.0
    return max(0, usage.used) / usage.limit


def _step(usage: Usage) -> int:
    if usage.is_over():
        return STEPS
    if not usage.limit or usage.limit < 0:
        return STEPS - 1
    return min(STEPS - 1, max(0, usage.used) * STEPS // usage.limit)
