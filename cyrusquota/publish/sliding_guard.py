"""The change guard for a map that changes all the time.

Each change is small then, and many of them still can be too much. So a map is held to the limits
with regard to the one in place, and also to what was in place some minutes ago, which is what a run
from cron would have compared it with.
"""

from __future__ import annotations

import time
from typing import Callable, Optional

import attrs

from cyrusquota.publish.guard import Limits, MapSummary, Rejection, check_change

#: Seconds: the limits count for what changes in this time, or up to twice as long.
WINDOW = 300.0


class SlidingGuard:
    """A guard as `cyrusquota.publish` takes it; tell it of each map that was put in place."""

    def __init__(
        self,
        summarize: Callable[[bytes], MapSummary],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._told = summarize
        self._limits = limits
        self._clock = clock
        #: The map that was accepted last, and what two earlier ones told, the older one first.
        self._accepted: Optional[bytes] = None
        self._before: Optional[MapSummary] = None
        self._later: Optional[MapSummary] = None
        self._turned = 0.0

    def __call__(self, old: bytes, new: bytes) -> Optional[Rejection]:
        """Why `new` may not replace `old`, or None if it may."""
        if old != self._accepted:
            # Somebody else has put it there, and so accepts it.
            self.accepted(old, begin=True)
        now, before = self._told(new), self._before
        reason = check_change(self._told(old), now, self._limits)
        if reason is not None or before is None:
            return reason
        reason = check_change(before, now, self._limits)
        if reason is None:
            return None
        minutes = max(1, round((self._clock() - self._turned + WINDOW) / 60))
        return attrs.evolve(reason, reason=f"in the last {minutes} minutes, {reason.reason}")

    def accepted(self, content: bytes, *, begin: bool = False) -> None:
        """`content` is in place now; `begin` says that all before it does not matter."""
        now, self._accepted = self._clock(), content
        if begin or self._before is None:
            self._before = self._later = self._told(content)
            self._turned = now
        elif now - self._turned >= WINDOW:
            self._before, self._later = self._later, self._told(content)
            self._turned = now
