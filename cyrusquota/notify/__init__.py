"""Tell users by mail before their mailbox is full: whom, how often, and with which letter.

An application of the rest; only `cli/notify.py` imports it. A run plans first, from the standings
of the users and what it remembers, and then hands the letters over, one after the other.
"""

from __future__ import annotations

import secrets
import time
from operator import methodcaller
from typing import Callable, Iterable, Iterator, Sequence

import attrs

from cyrusquota.errors import DeliveryError
from cyrusquota.notify.delivery import Fate, Outcome, Transport
from cyrusquota.notify.letter import Stationery
from cyrusquota.notify.memory import Due, Memory
from cyrusquota.notify.thresholds import Standing, Threshold


@attrs.frozen
class Plan:
    """The letters that are due, in the order in which they are sent, and how many users were told.

    `told` counts the users who have reached a threshold, and get no letter now.
    """

    due: Sequence[Due]
    told: int


def planned(
    standings: Iterable[Standing],
    thresholds: Sequence[Threshold],
    memory: Memory,
    *,
    now: int,
    repeat: int,
) -> Plan:
    """Return the letters that are due at `now`; one is repeated after `repeat` seconds."""
    due, told = list[Due](), 0
    for standing in standings:
        threshold = standing.reached(thresholds)
        if threshold is not None:
            one = memory.due(standing, threshold, now, repeat)
            if one is None:
                told += 1
            else:
                due.append(one)
    return Plan(sorted(due, key=methodcaller("order")), told)


@attrs.frozen
class Post:
    """Writes letters and hands them over."""

    stationery: Stationery
    transport: Transport
    thresholds: Sequence[Threshold]
    clock: Callable[[], float] = time.time

    def send(self, letters: Iterable[Due], memory: Memory) -> Iterator[tuple[Due, Outcome]]:
        """Send letters, and yield the fate of each, which is remembered by then.

        Raises `DeliveryError` where no more can be sent, and `StateError`.
        """
        try:
            for due in letters:
                self.transport.connect()
                yield due, self._sent(due, memory)
        finally:
            self.transport.close()

    def _sent(self, due: Due, memory: Memory) -> Outcome:
        standing, address = due.standing, str(self.stationery.address(due.standing))
        attempt = due.attempt(_message_id(address), int(self.clock()))
        memory.try_now(standing.user, attempt)
        try:
            outcome = _NO_ADDRESS
            if address.isascii():
                letter = self.stationery.letter(
                    standing, due.threshold, message_id=attempt.message_id, date=attempt.date
                )
                outcome = self.transport.deliver(address, letter)
        except DeliveryError:
            memory.mark_refused(standing.user)
            raise
        if outcome.fate is Fate.SENT:
            # A letter about a threshold also tells of those below it.
            below = [one for one in self.thresholds if one <= due.threshold]
            memory.mark_sent(standing.user, below)
        elif outcome.fate is Fate.REFUSED:
            memory.mark_refused(standing.user)
        return outcome


_NO_ADDRESS = Outcome(Fate.REFUSED, "only addresses in ASCII can be written to")


def _message_id(address: str) -> str:
    return f"<{secrets.token_hex(16)}@{address.rpartition('@')[2]}>"
