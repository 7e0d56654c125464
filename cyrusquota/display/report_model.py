"""The contents of a report, in the order and words that the terminal and the page share."""

from __future__ import annotations

import datetime
import enum
from typing import Iterator, Optional, Sequence

import attrs

from cyrusquota.cyrus.names import Naming, inbox_owner, recipient
from cyrusquota.display.sizes import part, size
from cyrusquota.quota import Resource, Usage
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.summary import STEP, STEPS, DomainUsage, Fullest, Summary


def address(root: str, naming: Naming) -> Optional[str]:
    """Return the address of the user whose own quota root is `root`, None if there is none."""
    to = recipient(root, naming)
    return None if to is None else str(to)


def user_or_root(root: str, naming: Naming) -> str:
    """Return the address of the user whose own quota root is `root`, or else `root`.

    A local part alone could be a shared folder's name, so it stays the name of the root.
    """
    to = recipient(root, naming)
    return root if to is None or to.domain is None else str(to)


class Level(enum.Enum):
    """How much of a limit is in use."""

    FINE = "fine"
    NEAR = "near"
    OVER = "over"


@attrs.frozen
class TotalLine:
    """A line of the totals: label, value and a note; `is_main` marks the most important ones."""

    label: str
    value: str
    note: str = ""
    is_main: bool = False
    state: Level = Level.FINE


@attrs.frozen
class Step:
    """A step of the histogram: how many roots use this much of their limit, and the axis label."""

    label: str
    begin: str
    count: int
    state: Level


@attrs.frozen
class Refusal:
    """Why mail for a user is refused: a resource of the root that governs them.

    `governed_by` is empty if that is their own root.
    """

    user: str
    resource: Resource
    usage: Usage
    governed_by: str


@attrs.frozen
class ReportModel:
    """All quotas of a site at a point in time.

    `refused` has the verdicts on users who are over quota. `inboxes` is the number of live INBOXes,
    None without mailboxes. `reserved` is the number of users who are not over quota but within the
    reserve, None without a reserve. `problems` is the number of records that could not be read.
    `rows` is the largest number of domains and refusals to show.
    """

    source: str
    policy: str
    when: datetime.datetime
    summary: Summary
    refused: Sequence[Verdict] = ()
    inboxes: Optional[int] = None
    reserved: Optional[int] = None
    problems: int = 0
    rows: int = 200
    naming: Naming = attrs.field(factory=Naming)

    def made(self) -> str:
        """Return the source, the policy and the time."""
        return f"{self.source}, policy {self.policy}, {self.when:%Y-%m-%d %H:%M %z}"

    def totals(self) -> Iterator[TotalLine]:
        """Return the totals of the site."""
        summary, total = self.summary, self.summary.total()
        count = len(summary.domains)
        yield TotalLine("Quota roots", str(summary.roots), _domains(count), is_main=True)
        of = "" if self.inboxes is None else f"{self.inboxes} users have an INBOX here"
        yield TotalLine("Users with a root of their own", str(total.users), of)
        yield self._roots("Without any limit", summary.unlimited)
        near = f"at least {summary.near:g}% of it in use"
        yield self._roots("Near a limit", summary.near_roots, near, Level.NEAR)
        yield self._roots("Over a limit", summary.over_roots)
        yield self._refused()
        if self.reserved is not None:
            note = "less left than --reserve; Cyrus still accepts their mail"
            yield TotalLine("Users within the reserve", str(self.reserved), note)
        yield TotalLine("Total limits", size(total.limits), "the sum of all STORAGE limits", True)
        yield TotalLine("Used", size(total.used), _used(total), is_main=True)
        if self.problems:
            yield TotalLine("Problems", str(self.problems), "see standard error")

    def _roots(
        self, label: str, count: int, note: str = "", state: Level = Level.FINE
    ) -> TotalLine:
        is_main = state is not Level.FINE
        if not count:
            return TotalLine(label, "0", is_main=is_main)
        share = f"{part(count, self.summary.roots)} of all roots"
        return TotalLine(label, str(count), f"{share}, {note}" if note else share, is_main, state)

    def _refused(self) -> TotalLine:
        count = len(self.refused)
        state = Level.OVER if count else Level.FINE
        return TotalLine("Users refused mail now", str(count), self._of_whom(), True, state)

    def _of_whom(self) -> str:
        if self.inboxes is not None:
            return f"{part(len(self.refused), self.inboxes)} of all with an INBOX here"
        return "only users with a root of their own are known"

    def steps(self) -> Iterator[Step]:
        """Return the histogram, from empty to over the limit."""
        for at, count in enumerate(self.summary.histogram):
            if at == STEPS:
                yield Step("over 100%", ">100%", count, Level.OVER)
                return
            begin = at * STEP
            state = Level.NEAR if begin >= self.summary.near else Level.FINE
            yield Step(f"{begin}-{begin + STEP}%", f"{begin}%", count, state)

    def state(self, usage: Usage) -> Level:
        """Return the level of a usage."""
        if usage.is_over():
            return Level.OVER
        return Level.NEAR if usage.reaches(self.summary.near) else Level.FINE

    def domains(self) -> list[tuple[str, DomainUsage]]:
        """Return each domain with its totals, the largest use first."""
        found = sorted(
            self.summary.domains.items(), key=lambda item: (-item[1].used, item[0] or "")
        )
        return [(name or self._without_domain(), totals) for name, totals in found]

    def _without_domain(self) -> str:
        return f"({self.naming.defaultdomain or 'no domain'})"

    def resources(self) -> Iterator[tuple[Resource, int, int, int]]:
        """Return each limited resource with the numbers of roots that limit it, near and over."""
        summary = self.summary
        for kind, count in summary.limited.items():
            if count:
                yield kind, count, summary.near_limit[kind], summary.over[kind]

    def fullest(self) -> list[Fullest]:
        """Return the fullest roots, fullest first."""
        return self.summary.fullest()

    def refused_users(self) -> Iterator[Refusal]:
        """Return why each user is refused, by domain and name, one line for each resource."""
        for verdict in sorted(self.refused, key=_address):
            governed_by = "" if inbox_owner(verdict.root.name) is not None else verdict.root.name
            doubt = " (not certain)" if verdict.is_approximate else ""
            usages = dict(verdict.root.usages())
            for kind in verdict.over:
                yield Refusal(str(verdict.recipient), kind, usages[kind], governed_by + doubt)


def _address(verdict: Verdict) -> tuple[str, str]:
    return verdict.recipient.domain or "", verdict.recipient.local


def _domains(count: int) -> str:
    return f"in {count} domain{'' if count == 1 else 's'}" if count else ""


def _used(total: DomainUsage) -> str:
    limited = total.used - total.used_unlimited
    share = f"{part(limited, total.limits)} of the limits" if total.limits else ""
    if not total.used_unlimited:
        return share
    under = f"{size(limited)} of it under a limit"
    return f"{under}, {share}" if share else under
