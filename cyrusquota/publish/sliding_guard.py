"""Hold back implausible changes of a map that changes all the time.

Each change is small then, and many small ones can be implausible too. So a new map is compared with
the one in place, and also with the one from some minutes ago, as a run from cron would.
"""

from __future__ import annotations

import time
from typing import Callable, Optional

import attrs

from cyrusquota.publish.guard import Limits, MapSummary, Rejection, check_change

#: Seconds: the limits are for the changes of this time, or up to twice as long.
WINDOW = 300.0


class SlidingGuard:
    """A guard for `Claim.put`; call `accepted` for each map that was put in place."""

    def __init__(
        self,
        summarize: Callable[[bytes], MapSummary],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._summarize = summarize
        self._limits = limits
        self._clock = clock
        #: The map that was accepted last, and summaries of two earlier ones, the older one first.
        self._accepted: Optional[bytes] = None
        self._before: Optional[MapSummary] = None
        self._later: Optional[MapSummary] = None
        self._before_since = 0.0

    def __call__(self, old: bytes, new: bytes) -> Optional[Rejection]:
        """Why `new` may not replace `old`, or None if it may."""
        if old != self._accepted:
            # Another run has put it there, so it is accepted.
            self.accepted(old, begin=True)
        summary, before = self._summarize(new), self._before
        reason = check_change(self._summarize(old), summary, self._limits)
        if reason is not None or before is None:
            return reason
        reason = check_change(before, summary, self._limits)
        if reason is None:
            return None
        minutes = max(1, round((self._clock() - self._before_since + WINDOW) / 60))
        return attrs.evolve(reason, reason=f"in the last {minutes} minutes, {reason.reason}")

    def accepted(self, content: bytes, *, begin: bool = False) -> None:
        """Note that `content` is in place now; with `begin`, forget the maps before it."""
        now, self._accepted = self._clock(), content
        if begin or self._before is None:
            self._before = self._later = self._summarize(content)
            self._before_since = now
        elif now - self._before_since >= WINDOW:
            self._before, self._later = self._later, self._summarize(content)
            self._before_since = now
