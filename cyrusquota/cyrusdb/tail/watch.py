"""Files that are written anew for every change, or that anything may be done to: flat, SQLite."""

from __future__ import annotations

import os
import time

from cyrusquota.cyrusdb.database import Identity, Snapshot, identity
from cyrusquota.cyrusdb.follow import Changes, Tail
from cyrusquota.errors import AnyPath, source_error

#: The clock that file times come from may tick as slowly as this, in seconds.
_TICK = 0.02
_TRIES = 10


class Watch(Tail):
    """Whether a file has changed, and not in what."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        for _ in range(_TRIES):
            self._identity = self._now()
            # A second change within one tick of the clock would not show.
            if time.time() - max(self._identity[3:]) / 1e9 > _TICK:
                break
            time.sleep(_TICK)

    def begin(self, snapshot: Snapshot) -> None:
        """The identity was taken before the reading."""

    def changes(self) -> Changes:
        return Changes(is_complete=self._now() == self._identity)

    def close(self) -> None:
        """Nothing is held."""

    def _now(self) -> Identity:
        try:
            return identity(os.stat(self._path))
        except OSError as error:
            raise source_error(error, self._path) from error
