"""Read a source once, for the commands that watch over it: who is refused mail, out of how many."""

from __future__ import annotations

import time
from typing import Iterator, Optional

import attrs

from cyrusquota.cli.command import Heading, under
from cyrusquota.cli.option_types import percent
from cyrusquota.cli.options import Options
from cyrusquota.cli.progress import progress
from cyrusquota.cyrus.names import inbox_owner
from cyrusquota.errors import CyrusQuotaError, OnProblem
from cyrusquota.publish.privileges import reading_as
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.mailboxes import Inbox, is_delivered_to
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.policies import Reserve
from cyrusquota.verdicts.summary import NEAR, Summary
from cyrusquota.verdicts.survey import survey

#: For commands that count roots that are nearly full.
near_option = under(Heading.WHO)(
    "--near",
    metavar="PERCENT",
    callback=percent,
    default=f"{NEAR:g}%",
    show_default=True,
    help="Count a root as nearly full from this percentage of a limit; 90 means 90%.",
)


@attrs.define
class ScanResult:
    """What `scan` found.

    `users` counts the live INBOXes here or, where the mailboxes are not known, the quota roots that
    are a user's own. `verdicts` has who is refused mail, and who is near it by the reserve.
    """

    verdicts: list[Verdict] = attrs.field(factory=list)
    roots: int = 0
    users: int = 0
    seconds: float = 0.0

    @property
    def refused(self) -> int:
        """Return how many users Cyrus would refuse mail for."""
        return sum(bool(verdict.over) for verdict in self.verdicts)

    @property
    def near(self) -> int:
        """Return how many more have less left than the reserve."""
        return len(self.verdicts) - self.refused


def scan(
    options: Options,
    reserve: Optional[Reserve] = None,
    collector: Optional[SummaryCollector] = None,
) -> ScanResult:
    """Read the source, and give every quota root to `collector`.

    `reserve` replaces the one that was given. Raises what keeps the source from being read.
    """
    begun = time.monotonic()
    with reading_as(options.user):
        result = _surveyed(options, reserve, collector) or _read(options, reserve, collector)
    options.check_readable(result.roots)
    result.seconds = time.monotonic() - begun
    return result


def _surveyed(
    options: Options, reserve: Optional[Reserve], collector: Optional[SummaryCollector]
) -> Optional[ScanResult]:
    """Return the result of all processes together; None where roots are needed one by one."""
    if collector is not None and collector.by_root is not None:
        return None
    summary = None if collector is None else collector.summary
    found = survey(
        options.source,
        options.query(reserve),
        summary,
        lambda counted: progress(counted, lambda: counted.count),
    )
    return None if found is None else ScanResult(found.verdicts, found.roots, found.users)


def _read(
    options: Options, reserve: Optional[Reserve], collector: Optional[SummaryCollector]
) -> ScanResult:
    result, site = ScanResult(), options.site

    unreadable: set[str] = set()

    def roots() -> Iterator[QuotaRoot]:
        counted = options.source.counted(None, evaluator.noting(unreadable, options.problems))
        for root in progress(counted, lambda: counted.count):
            result.roots = counted.count
            if collector is not None:
                collector(root)
            result.users += site is None and inbox_owner(root.name) is not None
            yield root

    def inboxes(on_problem: OnProblem) -> Iterator[Inbox]:
        assert site is not None
        users = 0
        for inbox in site.inboxes(on_problem):
            users += is_delivered_to(inbox)
            yield inbox
        # Not added: where totals count, they are read once more.
        result.users = users

    query = attrs.evolve(
        options.query(reserve), site=None if site is None else site.with_inboxes(inboxes)
    )
    result.verdicts.extend(evaluator.evaluate_roots(roots(), query, unreadable))
    return result


def enforced(root: QuotaRoot, options: Options, on_problem: OnProblem) -> QuotaRoot:
    """Return `root` with the conversations totals that Cyrus enforces, where it does.

    Totals that cannot be read go to `on_problem`, and the usage of the database stays.
    """
    if options.site is None:
        return root
    try:
        return evaluator.enforced(root, options.site, on_problem)
    except CyrusQuotaError as error:
        on_problem(error)
        return root


@attrs.define
class SummaryCollector:
    """Adds every quota root of a scan to `summary`, with the usage that Cyrus enforces.

    `by_root` gets each root by its name, unless it is None; memory grows with their number then.
    """

    options: Options
    summary: Summary
    by_root: Optional[dict[str, QuotaRoot]] = None

    def __call__(self, root: QuotaRoot) -> None:
        """Add one root."""
        # Totals that cannot be read are reported with the verdict, which needs them too.
        counted = enforced(root, self.options, lambda problem: None)
        self.summary.add(counted)
        if self.by_root is not None:
            self.by_root[root.name] = counted
