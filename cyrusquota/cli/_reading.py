"""One reading of a source for those who watch over it: who is refused mail, out of how many."""

from __future__ import annotations

import time
from typing import Callable, Iterator, Optional

import attrs

from cyrusquota.cli._progress import progress
from cyrusquota.cli._source import Chosen
from cyrusquota.cyrus.names import inbox_owner
from cyrusquota.errors import OnProblem
from cyrusquota.publish.privileges import reading_as
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.mailboxes import Inbox
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.policies import Reserve


@attrs.define
class Reading:
    """What `read` found.

    `users` are the live INBOXes here or, where the mailboxes are not known, the quota roots that
    are a user's own. `verdicts` has who is refused mail, and who is near it by the reserve.
    """

    verdicts: list[Verdict] = attrs.field(factory=list)
    roots: int = 0
    users: int = 0
    seconds: float = 0.0

    @property
    def refused(self) -> int:
        """How many users Cyrus would refuse mail for."""
        return sum(bool(verdict.over) for verdict in self.verdicts)

    @property
    def near(self) -> int:
        """How many more have less left than the reserve."""
        return len(self.verdicts) - self.refused


def _unseen(root: QuotaRoot) -> None:
    pass


def read(
    chosen: Chosen,
    reserve: Optional[Reserve] = None,
    see: Callable[[QuotaRoot], None] = _unseen,
) -> Reading:
    """Read the source once, from beginning to end, every quota root passing `see`.

    `reserve` takes the place of the one chosen. Raises what keeps the source from being read.
    """
    reading, site, begun = Reading(), chosen.site, time.monotonic()

    def roots() -> Iterator[QuotaRoot]:
        counted = chosen.source.counted(None, chosen.problems)
        for root in progress(counted, lambda: counted.count):
            reading.roots = counted.count
            see(root)
            reading.users += site is None and inbox_owner(root.name) is not None
            yield root

    def inboxes(on_problem: OnProblem) -> Iterator[Inbox]:
        assert site is not None
        users = 0
        for inbox in site.inboxes(on_problem):
            users += evaluator.is_delivered_to(inbox)
            yield inbox
        # Not added: where totals count, they are read once more.
        reading.users = users

    with reading_as(chosen.user):
        found = evaluator.evaluate_roots(
            roots(),
            attrs.evolve(
                chosen.query(reserve), site=None if site is None else site.with_inboxes(inboxes)
            ),
        )
        reading.verdicts.extend(found)
    if not reading.roots and chosen.problems.in_data:
        raise chosen.source.unreadable()
    reading.seconds = time.monotonic() - begun
    return reading
