"""Summarise all quota roots, counted as they pass.

Memory grows with the number of domains, not of roots: sums, counters, a histogram of fixed size,
and a heap of the fullest roots. A summary is about roots and their figures. Which users are refused
mail is for the evaluator to say: a root may belong to no user, and a mailbox may be gone.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Any, Callable, Container, Iterable, Iterator, Mapping, Optional, Sequence

import attrs

from cyrusquota.cyrus.names import domain_of, inbox_owner
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.policies import LMTPD, Policy

#: Count a root as near its limit from this percentage.
NEAR = 90.0
#: The width of a step of the histogram, in percent.
STEP = 10
STEPS = 100 // STEP
_UNLIMITED = -1


@attrs.define
class DomainUsage:
    """The numbers of roots in one domain, and the bytes of STORAGE they use and may use.

    `limits` is the sum of the limits, `used` the usage of all roots, `used_unlimited` that of the
    `unlimited` roots, which have no limit. A negative figure counts as 0. `over` counts the roots
    that are over in any resource, `users` those that are a user's own.
    """

    roots: int = 0
    unlimited: int = 0
    over: int = 0
    limits: int = 0
    used: int = 0
    used_unlimited: int = 0
    users: int = 0

    def add(self, root: QuotaRoot, *, is_over: bool) -> None:
        """Add one root."""
        storage = root.storage
        self.roots += 1
        self.over += is_over
        self.users += inbox_owner(root.name) is not None
        self.used += max(0, storage.used)
        if storage.limit is None:
            self.unlimited += 1
            self.used_unlimited += max(0, storage.used)
        else:
            self.limits += max(0, storage.limit)


@attrs.frozen
class Fullest:
    """A root, the resource it is fullest in, and usage divided by limit (1.0 at the limit)."""

    fraction: float
    resource: Resource
    root: QuotaRoot

    @property
    def usage(self) -> Usage:
        """Return the usage of that resource."""
        return dict(self.root.usages())[self.resource]

    def __lt__(self, other: Fullest) -> bool:
        """Return whether this one is less full; of two equally full ones, the later name is."""
        if self.fraction != other.fraction:
            return self.fraction < other.fraction
        return self.root.name > other.root.name


@attrs.frozen
class Users:
    """Many quota roots of users that limit nothing but STORAGE, with figures that are not negative.

    `domains` has each domain with how many roots in a row are in it. `root` returns one of them.
    """

    domains: Sequence[tuple[Optional[str], int]]
    used: Sequence[int]
    limits: Sequence[Optional[int]]
    root: Callable[[int], QuotaRoot]

    def usage(self, at: int) -> Usage:
        """Return the usage of STORAGE of one of the roots."""
        return Usage(self.used[at], self.limits[at])

    def steps(self) -> list[int]:
        """Return the step of the histogram of each root; from STEPS on it is not exact.

        Of a root without a limit it is `_UNLIMITED`.
        """
        return [
            _UNLIMITED if limit is None else used * STEPS // limit if limit else STEPS
            for used, limit in zip(self.used, self.limits)
        ]


@attrs.define
class Summary:
    """Counts roots under a policy; a root is near a limit from `near` percent of it.

    `limited`, `over` and `near_limit` are numbers of roots by resource; a root that is over is not
    near as well. `unlimited` counts the roots without any limit, `over_roots` and `near_roots`
    those that are over, or only near, in any resource. `histogram` counts the roots that have a
    limit, by the resource they are fullest in: `STEPS` steps of `STEP` percent, of which the last
    includes 100 %, and one more for roots above their limit. The `keep` fullest roots are kept.
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
    domains: dict[Optional[str], DomainUsage] = attrs.field(factory=dict)
    histogram: list[int] = attrs.field(factory=lambda: [0] * (STEPS + 1))
    _heap: list[Fullest] = attrs.field(init=False, factory=list)

    def passing(self, roots: Iterable[QuotaRoot]) -> Iterator[QuotaRoot]:
        """Return `roots`, and add each as it passes."""
        for root in roots:
            self.add(root)
            yield root

    def add(self, root: QuotaRoot) -> None:
        """Add one root."""
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

    def add_users(self, users: Users) -> None:
        """Add many roots at once: those of users, which limit nothing but STORAGE."""
        self.roots += len(users.used)
        self._add_domains(users)
        unlimited = users.limits.count(None)
        self.unlimited += unlimited
        self.limited[Resource.STORAGE] += len(users.used) - unlimited
        steps = users.steps()
        counts = Counter(steps)
        del counts[_UNLIMITED]
        for step in range(STEPS):
            self.histogram[step] += counts[step]
        least = min(int(self.near // STEP), STEPS)
        number, of = self.near.as_integer_ratio()
        hundred = 100 * of
        for at in (at for at, step in enumerate(steps) if step >= least):
            used, limit = users.used[at], users.limits[at] or 0
            is_over = used > limit
            if steps[at] >= STEPS:
                self.histogram[STEPS if is_over else STEPS - 1] += 1
            if is_over:
                self.over[Resource.STORAGE] += 1
                self.over_roots += 1
                self._domain(users.root(at)).over += 1
            elif used * hundred >= limit * number:
                self.near_limit[Resource.STORAGE] += 1
                self.near_roots += 1
        self._rank_users(users, steps, counts)

    def _add_domains(self, users: Users) -> None:
        start = 0
        for domain, count in users.domains:
            part = slice(start, start + count)
            used, limits = users.used[part], users.limits[part]
            totals = self.domains.setdefault(domain, DomainUsage())
            totals.roots += count
            totals.users += count
            totals.used += sum(used)
            totals.limits += sum(filter(None, limits))
            if None in limits:
                totals.unlimited += limits.count(None)
                pairs = zip(used, limits)
                totals.used_unlimited += sum(use for use, limit in pairs if limit is None)
            start = part.stop

    def _rank_users(self, users: Users, steps: list[int], counts: Mapping[int, int]) -> None:
        """Keep the fullest; only those in the highest steps can be among them."""
        left, least = self.keep, 0
        for step in sorted(counts, reverse=True):
            if left <= 0:
                break
            # Of a limit of 0 any usage is more than of all others.
            left, least = left - counts[step], min(step, STEPS)
        high = [at for at, step in enumerate(steps) if self.keep and step >= max(0, least)]
        fractions = [
            users.used[at] / limit if (limit := users.limits[at]) else _fraction(users.usage(at))
            for at in high
        ]
        bar = min(heapq.nlargest(self.keep, fractions), default=0)
        for at, fraction in zip(high, fractions):
            if fraction >= bar:
                self._keep(Fullest(fraction, Resource.STORAGE, users.root(at)))

    def empty(self) -> Summary:
        """Return a summary of nothing, under the same policy."""
        return Summary(self.policy, self.near, self.keep)

    def state(self) -> tuple[Any, ...]:
        """Return the counts and the fullest in a form that `marshal` can carry; see `merge`."""
        by_resource = (self.limited, self.over, self.near_limit)
        return (
            (self.roots, self.unlimited, self.over_roots, self.near_roots),
            [[*counts.values()] for counts in by_resource],
            {domain: attrs.astuple(totals) for domain, totals in self.domains.items()},
            self.histogram,
            [
                (full.root.name, [attrs.astuple(usage) for _, usage in full.root.usages()])
                for full in self._heap
            ],
        )

    def merge(self, state: Any) -> None:
        """Add the `state` of a summary of other roots under the same policy."""
        (roots, unlimited, over, near), by_resource, domains, histogram, kept = state
        self.roots += roots
        self.unlimited += unlimited
        self.over_roots += over
        self.near_roots += near
        for counts, others in zip((self.limited, self.over, self.near_limit), by_resource):
            for kind, number in zip(Resource, others):
                counts[kind] += number
        for domain, numbers in domains.items():
            totals = attrs.astuple(self.domains.get(domain, DomainUsage()))
            self.domains[domain] = DomainUsage(*map(sum, zip(totals, numbers)))
        self.histogram = [*map(sum, zip(self.histogram, histogram))]
        for name, usages in kept:
            full = fullest(QuotaRoot(name, *(Usage(*figures) for figures in usages)))
            if full is not None:
                self._keep(full)

    def fullest(self) -> list[Fullest]:
        """Return the fullest roots, fullest first, then by name."""
        return sorted(self._heap, reverse=True)

    def total(self) -> DomainUsage:
        """Return the sum of all domains."""
        parts = [attrs.astuple(totals) for totals in self.domains.values()]
        return DomainUsage(*map(sum, zip(*parts)))

    def _domain(self, root: QuotaRoot) -> DomainUsage:
        domain = domain_of(root.name)
        totals = self.domains.get(domain)
        if totals is None:
            totals = self.domains[domain] = DomainUsage()
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
        self._keep(full)

    def _keep(self, full: Fullest) -> None:
        if len(self._heap) < self.keep:
            heapq.heappush(self._heap, full)
        elif self._heap and self._heap[0] < full:
            heapq.heappushpop(self._heap, full)


def fullest(root: QuotaRoot, among: Container[Resource] = tuple(Resource)) -> Optional[Fullest]:
    """Return which of the resources `among` is fullest; None where none of them has a limit."""
    found: Optional[Fullest] = None
    for kind, usage in root.usages():
        if usage.limit is None or kind not in among:
            continue
        used = _fraction(usage)
        if found is None or used > found.fraction:
            found = Fullest(used, kind, root)
    return found


def near_limit(root: QuotaRoot, policy: Policy, percent: float) -> tuple[Resource, ...]:
    """Return the resources that count for `policy` and have reached `percent` of their limit."""
    return tuple(
        kind for kind, usage in root.usages() if kind in policy.room and usage.reaches(percent)
    )


def _fraction(usage: Usage) -> float:
    """Return usage divided by limit; with a limit of 0, any usage is infinitely much."""
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
