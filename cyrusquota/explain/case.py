"""What is known about one user, and what a difference between the answers is."""

from __future__ import annotations

from typing import Optional

import attrs

from cyrusquota.explain.answers import EximAnswer, MapAnswer, ServerAnswer
from cyrusquota.explain.export import Export
from cyrusquota.explain.user import User
from cyrusquota.mta.exim import Exim, VerifyStatus
from cyrusquota.mta.routing import Destination, is_same
from cyrusquota.mta.transport import IGNORED
from cyrusquota.verdicts.evaluator import Query


@attrs.frozen
class Reason:
    """Why there is a difference, what to do, and the commands of a shell that do it."""

    why: str
    do: str
    commands: tuple[str, ...] = ()


@attrs.frozen
class Difference:
    """A difference between two answers, and its reason."""

    what: str
    reason: Reason


@attrs.frozen
class Case:
    """All that is known about one user."""

    user: User
    server: ServerAnswer
    table: MapAnswer
    exim: Optional[EximAnswer]
    mta: Optional[Exim]
    export: Export
    query: Query

    @property
    def address(self) -> str:
        """The address of the user, with the domain that Exim knows where Cyrus has none."""
        to, exim = self.user.address, self.exim
        if to.domain is not None or exim is None:
            return str(to)
        goes = () if exim.delivery is None else exim.delivery.destinations
        targets = [one.target for one in goes if one.problem is None]
        for known in (exim.address, targets[0] if len(targets) == 1 else None):
            if known is not None and "@" in known and is_same(known, to.local):
                return f"{to.local}@{known.rpartition('@')[2]}"
        return str(to)

    @property
    def goes_elsewhere(self) -> Optional[Destination]:
        """Where Exim delivers mail for the address of this INBOX, if not only there."""
        delivery = None if self.exim is None else self.exim.delivery
        if delivery is None or (self.user.has_list and self.user.inbox is None):
            return None
        if not delivery.is_direct and not is_same(delivery.asked, str(self.user.address)):
            # An alias was asked about, and this is where it leads.
            return None
        goes = [one for one in delivery.destinations if one.problem is None]
        others = [one for one in goes if one.parents or one not in delivery.to_cyrus]
        return others[0] if others else None

    @property
    def is_by_map(self) -> bool:
        """Whether Exim defers or rejects because of the map, as far as it shows that."""
        exim, table = self.exim, self.table
        if exim is None or exim.answer is None or not exim.is_by_router or not table.may_defer:
            return False
        if exim.steps or table.is_hidden or self.is_cause_hidden:
            return True
        # Without the steps, only the text tells; Exim takes a code off its beginning.
        return table.end_of_text in exim.answer.text

    @property
    def is_cause_hidden(self) -> bool:
        """Whether Exim does not tell why it defers or rejects, as it tells its administrators."""
        exim = self.exim
        if exim is None or exim.answer is None or exim.shows_steps:
            return False
        return exim.status is not VerifyStatus.ACCEPTED and not exim.answer.has_reason

    @property
    def is_stopped_before(self) -> bool:
        """Whether Exim defers or rejects, and not because of the map."""
        status = None if self.exim is None else self.exim.status
        return status not in (None, VerifyStatus.ACCEPTED) and not self.is_by_map

    @property
    def ignores_quota(self) -> bool:
        """Whether Exim tells Cyrus to ignore the quotas for which it would refuse."""
        option = None if self.exim is None else self.exim.quota_ignored_by
        is_over = self.server.reply.refuses_as_full
        return option is not None and is_over and set(self.user.over) <= set(IGNORED)

    def ask_exim(self, *arguments: str) -> str:
        """Return the command that asks Exim, quoted for a shell."""
        return (self.mta or Exim("exim")).command(*arguments)
