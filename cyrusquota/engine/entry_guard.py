"""Hold back implausible changes of entries of which only the changes are looked at.

The limits are those for maps (`publish.guard`), and so is the window of time: a change is compared
with what is there, and what comes of it with what was there some minutes ago.
"""

from __future__ import annotations

import time
from typing import Callable, Collection, Optional

import attrs

from cyrusquota.errors import count_of
from cyrusquota.publish.guard import Change, Limits, Rejection, rounded_up
from cyrusquota.publish.sliding_guard import WINDOW


@attrs.define
class _Window:
    """The keys that differ from those at the beginning of the window, True for those added."""

    entries: int
    since: float
    differs: dict[bytes, bool] = attrs.field(factory=dict)
    added: int = 0

    def change(self, added: Collection[bytes], removed: Collection[bytes]) -> Change:
        """Return the change since the beginning of the window if these keys change too."""
        back = sum(self.differs.get(key) is False for key in added)
        again = sum(self.differs.get(key) is True for key in removed)
        come = self.added + len(added) - back - again
        gone = len(self.differs) - self.added + len(removed) - back - again
        return Change(come, gone, self.entries - gone)

    def note(self, added: Collection[bytes], removed: Collection[bytes]) -> None:
        for keys, is_added in ((added, True), (removed, False)):
            for key in keys:
                before = self.differs.pop(key, None)
                self.added -= before is True
                if before is None:
                    self.differs[key] = is_added
                    self.added += is_added


class EntryGuard:
    """The limits of how much the entries of a store may change.

    `added` and `removed` are the keys of a change, which are not there yet, or are there now.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self.begin(0)

    def begin(self, entries: int) -> None:
        """Take over that so many entries are there, whatever there was before."""
        self._entries = entries
        #: The older one is compared with; the later one will be.
        self._windows = (_Window(entries, self._clock()), _Window(entries, self._clock()))

    def rejection(
        self, added: Collection[bytes], removed: Collection[bytes]
    ) -> Optional[Rejection]:
        """Return why a change is held back, or None if it may pass."""
        step = Change(len(added), len(removed), self._entries - len(removed))
        exceeded = self._limits.exceeded(step, self._entries)
        if exceeded is not None:
            return _rejection(step, self._entries, exceeded, "")
        window = self._windows[0]
        change = window.change(added, removed)
        exceeded = self._limits.exceeded(change, window.entries)
        if exceeded is None:
            return None
        minutes = max(1, round((self._clock() - window.since) / 60))
        return _rejection(
            change, window.entries, exceeded, f" within {count_of(minutes, 'minute')}"
        )

    def accepted(self, added: Collection[bytes], removed: Collection[bytes]) -> None:
        """Take over a change that was made."""
        self._entries += len(added) - len(removed)
        for window in self._windows:
            window.note(added, removed)
        now = self._clock()
        if now - self._windows[1].since >= WINDOW:
            self._windows = (self._windows[1], _Window(self._entries, now))


def _rejection(change: Change, of: int, exceeded: str, when: str) -> Rejection:
    ceiling = rounded_up(change.count)
    return Rejection(
        f"{count_of(change.added, 'entry')} would be added to {of} and {change.removed}"
        f" removed{when}, more than {exceeded} allows",
        f"accept up to {ceiling} changes once",
        ceiling,
    )
