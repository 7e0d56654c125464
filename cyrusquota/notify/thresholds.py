"""Find the users who have reached a threshold, from the verdicts on all of them.

The figures are those that Cyrus enforces. Only a root of the user's own counts: nobody can do much
about a root that many users share.
"""

from __future__ import annotations

import re
from typing import Callable, Iterable, Optional

import attrs

from cyrusquota.cyrus.names import Naming, Recipient, recipient
from cyrusquota.errors import OptionError, printable
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.policies import Policy, Reserve

#: So many points below a threshold, a user may be told of it again.
POINTS = 5
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%?", re.ASCII)
_LEAST, _MOST = 2 * POINTS, 100


@attrs.frozen(order=True)
class Threshold:
    """A percentage of a limit, or `FULL`, which is above all of them. `name` is that of a template.

    `percent` is infinite for `FULL`.
    """

    percent: float
    name: str

    @classmethod
    def of(cls, given: str) -> Threshold:
        """Return the threshold that `full` or `80%` stands for; raise `OptionError` for others."""
        if given == FULL.name:
            return FULL
        match = _PERCENT.fullmatch(given)
        if match is None or not _LEAST <= float(match[1]) <= _MOST:
            raise OptionError(
                f"--at: expected full, or a percentage from {_LEAST}% to {_MOST}%,"
                f" found {printable(given)!r}"
            )
        return cls(float(match[1]), f"{float(match[1]):g}")

    def __str__(self) -> str:
        return self.name if self is FULL else f"{self.name}%"


FULL = Threshold(float("inf"), "full")


@attrs.frozen
class Standing:
    """A user and their quota root: how full it is in the fullest resource, and whether it is full.

    `share` is the largest part of a limit in use. `is_almost_full` says that it would be full with
    `POINTS` percent more.
    """

    recipient: Recipient
    root: QuotaRoot
    resource: Resource
    share: float
    is_full: bool
    is_almost_full: bool

    @property
    def user(self) -> str:
        """The name under which the user is remembered."""
        return str(self.recipient)

    @property
    def usage(self) -> Usage:
        """The usage of the fullest resource."""
        return dict(self.root.usages())[self.resource]

    def reached(self, thresholds: Iterable[Threshold]) -> Optional[Threshold]:
        """Return the highest of `thresholds` that the user has reached, or None."""
        return max(filter(self._has_reached, thresholds), default=None)

    def _has_reached(self, threshold: Threshold) -> bool:
        return self.is_full if threshold is FULL else self.share >= threshold.percent / 100

    def is_below(self, threshold: Threshold) -> bool:
        """Return whether the user is so far below `threshold` that it counts again."""
        if threshold is FULL:
            return not self.is_full and not self.is_almost_full
        return self.share <= (threshold.percent - POINTS) / 100


def watched(thresholds: Iterable[Threshold], policy: Policy, reserve: Reserve) -> Reserve:
    """Return a reserve such that only users who are below all `thresholds` have more left."""
    lowest = min(100.0, *(threshold.percent for threshold in thresholds))
    percents = {kind: percent + POINTS for kind, percent in reserve.percents.items()}
    for kind in policy.room:
        percents[kind] = max(percents.get(kind, 0), 100 - lowest + POINTS)
    return Reserve(reserve.amounts, {kind: min(100.0, one) for kind, one in percents.items()})


@attrs.define
class Standings:
    """Takes verdicts, and keeps how full the users are who may be told.

    `full` means that Cyrus refuses their mail by `policy`, or that they have less than `reserve`
    left, which makes an export list them, too. `shared` gets the names of full roots that govern
    other users than their own, and the number of these.
    """

    naming: Naming
    policy: Policy
    reserve: Reserve
    is_exempt: Callable[[Recipient], bool]
    found: list[Standing] = attrs.field(init=False, factory=list)
    shared: dict[str, int] = attrs.field(init=False, factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Take one verdict."""
        if self.is_exempt(verdict.recipient):
            return
        if recipient(verdict.root.name, self.naming) == verdict.recipient:
            self.found.append(self._standing(verdict))
        elif verdict.over:
            name = verdict.root.name
            self.shared[name] = self.shared.get(name, 0) + 1

    def _standing(self, verdict: Verdict) -> Standing:
        root, near = verdict.root, self.reserve.near(verdict.root)
        shares = {kind: _share(usage) for kind, usage in root.usages() if usage.limit is not None}
        share = max((shares.get(kind, 0.0) for kind in self.policy.room), default=0.0)
        # Of those that make it full, or else of all, the fullest one is what a letter is about.
        resource = max(verdict.over or near or shares, key=shares.__getitem__)
        is_almost_full = share > (100 - POINTS) / 100 or self._would_be_full(root)
        return Standing(
            verdict.recipient, root, resource, share, bool(verdict.over or near), is_almost_full
        )

    def _would_be_full(self, root: QuotaRoot) -> bool:
        if self.reserve == Reserve():
            return False
        more = QuotaRoot.of(root.name, {kind: _with_more(usage) for kind, usage in root.usages()})
        return bool(self.policy.over(more) or self.reserve.near(more))


def _share(usage: Usage) -> float:
    """Return the part of the limit in use. A limit of 0 is reached only where it is exceeded."""
    if usage.limit is None or usage.limit <= 0:
        return float("inf") if usage.is_over() else 0.0
    return max(0, usage.used) / usage.limit


def _with_more(usage: Usage) -> Usage:
    if usage.limit is None:
        return usage
    return attrs.evolve(usage, used=usage.used + usage.limit * POINTS // 100)
