"""Put a map in place soon after a change, again to renew it, and once more where that failed."""

from __future__ import annotations

import time
from typing import Callable, Optional

import attrs

from cyrusquota.errors import CyrusQuotaError, HeldBack, MapLocked
from cyrusquota.follow.notices import Notices

#: Seconds: between two maps, until a map is renewed, until a failed one is tried again, and until
#: one that was held back is.
DEBOUNCE, RENEW, RETRY, RETRY_HELD = 0.5, 30.0, 1.0, 5.0
#: Seconds before lock contention is reported.
LOCKED = 10.0
#: Between two maps at least so many times the processor time that one takes passes.
SHARE = 6


@attrs.define
class MapPace:
    """Puts a map in place at the right times, and reports why it cannot be.

    `cpu` is the clock of the processor time of this process.
    """

    notices: Notices
    clock: Callable[[], float] = time.monotonic
    renew: float = RENEW
    debounce: float = DEBOUNCE
    cpu: Callable[[], float] = time.process_time
    #: Counts after the first map.
    _pause: float = 0.0
    _version: object = None
    _put_at: float = float("-inf")
    _not_before: float = float("-inf")
    _locked_since: Optional[float] = None

    def has_put(self, version: object) -> bool:
        """Return whether the map `version` is the one in place."""
        return version == self._version

    def due(self, version: object) -> float:
        """Return the time at which the map `version` is due; infinity if it is in place."""
        if self.has_put(version):
            return float("inf")
        return max(self._not_before, self._put_at + self._pause)

    def step(self, version: object, put: Callable[[], None]) -> None:
        """Put the map `version` in place by `put`, which raises what `Claim.put` does, if due."""
        now = self.clock()
        since = now - self._put_at
        is_due = since >= self._pause and (since >= self.renew or not self.has_put(version))
        if now < self._not_before or not is_due:
            return
        self._not_before = now + RETRY
        begun = self.cpu()
        try:
            put()
        except MapLocked as error:
            self._locked_since = now if self._locked_since is None else self._locked_since
            if now - self._locked_since >= LOCKED:
                self.notices.wrong("map", str(error))
            return
        except HeldBack as error:
            self.notices.wrong("map", str(error))
            self._not_before = now + RETRY_HELD
            return
        except CyrusQuotaError as error:
            self.notices.wrong("map", str(error))
            return
        self._pause = max(self.debounce, SHARE * (self.cpu() - begun))
        self._locked_since = None
        self.notices.right("map")
        self._version, self._put_at = version, now
        self._not_before = now
