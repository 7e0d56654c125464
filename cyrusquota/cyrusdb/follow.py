"""Follow a database: what was committed since it was last looked at, reading only that.

    with follow.open(path) as followed:
        with cyrusdb.open(path) as db:
            records = dict(db)
            followed.begin(db.snapshot())
        ...
        changes = followed.changes()

A database is opened here before it is read, so its inode cannot become that of another file
meanwhile; `begin` takes the position from the reading itself, so that nothing lies between the two.
`NeedsRescan` says that what has become of the database cannot be told from what was written since;
read it again then.
"""

from __future__ import annotations

import abc
import importlib
import os
import time
from bisect import bisect_left, bisect_right
from typing import Any, Callable, Collection, Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.database import Database, Identity, Snapshot, identity, mailbox_order
from cyrusquota.cyrusdb.flat import Flat
from cyrusquota.errors import AnyPath, CyrusQuotaError, OnProblem, source_error

__all__ = [
    "Changes",
    "ComparedFile",
    "Followed",
    "Gap",
    "NeedsRescan",
    "WatchedFile",
    "in_gaps",
    "is_followed",
    "open",
]

#: Formats that append what they commit: module and class.
_LOGS = {
    "skiplist": ("skiplist.follow", "FollowedSkiplist"),
    "twom": ("twom.follow", "FollowedTwom"),
    "twoskip": ("twoskip.follow", "FollowedTwoskip"),
}


class NeedsRescan(Exception):
    """The changes cannot be told; the database has to be read again."""


@attrs.frozen
class Gap:
    """A part of a database in which nothing is live: between two keys, None for an end."""

    after: Optional[bytes]
    before: Optional[bytes]


def in_gaps(keys: Collection[bytes], gaps: Collection[Gap]) -> tuple[set[bytes], bool]:
    """Return those of `keys` that belong in one of the gaps, and whether that is sure for all.

    It is not where it depends on the order that the database is in.
    """
    found = []
    orders: tuple[Callable[[bytes], Any], ...] = (bytes, mailbox_order)
    for order in orders if gaps else ():
        ordered = sorted(keys, key=order)
        places, held = list(map(order, ordered)), set[bytes]()
        for gap in gaps:
            low = 0 if gap.after is None else bisect_right(places, order(gap.after))
            high = None if gap.before is None else bisect_left(places, order(gap.before))
            held.update(ordered[low:high])
        found.append(held)
    return set.intersection(*found) if found else set(), not found or found[0] == found[1]


@attrs.frozen
class Changes:
    """What became of each key that was written, None if it is gone.

    Where deletions do not name their key, `gaps` say where they were: what is in none of them has
    not been deleted. `records` is how many live records there are by now, None where that is not
    known. Where `is_complete` is False there were changes besides, such as too many deletions, or a
    new file that is taken for a repacked one; read the database again when there is time.
    """

    by_key: dict[bytes, Optional[bytes]] = attrs.field(factory=dict)
    records: Optional[int] = None
    is_complete: bool = True
    gaps: frozenset[Gap] = frozenset()


class Followed(abc.ABC):
    """A database that is followed; also a context manager, which closes it."""

    @abc.abstractmethod
    def begin(self, snapshot: Snapshot) -> None:
        """Go on from what was read; raises `NeedsRescan` where that was another file."""

    @abc.abstractmethod
    def changes(self) -> Changes:
        """Return what was committed since.

        Raises `NeedsRescan`, or `SourceError` where nothing can be read.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Followed:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def is_followed(path: AnyPath) -> bool:
    """Return whether the changes of the database file at `path` can be told.

    Raises what `cyrusdb.guess` raises.
    """
    return cyrusdb.guess(path) in _LOGS


def open(path: AnyPath) -> Followed:  # noqa: A001 - as in `cyrusdb`
    """Follow the database file at `path`; where its format does not tell, watch it.

    Raises what `cyrusdb.guess` raises. (For a quotalegacy tree see `quotalegacy.follow`.)
    """
    backend = cyrusdb.guess(path)
    if backend not in _LOGS:
        return WatchedFile(path)
    module, name = _LOGS[backend]
    package = importlib.import_module(f"cyrusquota.cyrusdb.{module}")
    followed: Followed = getattr(package, name)(path)
    return followed


# Files that are replaced for every change, or that anything may be done to: flat, SQLite

#: The clock that file times come from may tick as slowly as this, in seconds.
_TICK = 0.02
_LOOKS = 10


class WatchedFile(Followed):
    """Whether a file has changed, and not in what."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._look()

    def _look(self) -> None:
        for _ in range(_LOOKS):
            self._identity = self._now()
            # A second change within one tick of the clock would not show.
            if time.time() - max(self._identity[3:]) / 1e9 > _TICK:
                break
            time.sleep(_TICK)

    def begin(self, snapshot: Snapshot) -> None:
        """Do nothing: the identity was taken before the reading."""

    def changes(self) -> Changes:
        return Changes(is_complete=self._now() == self._identity)

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _now(self) -> Identity:
        try:
            return identity(os.stat(self._path))
        except OSError as error:
            raise source_error(error, self._path) from error


#: Larger files are only watched: to read them takes too long, and to keep them too much memory.
_LARGEST_COMPARED = 1 << 24


class ComparedFile(WatchedFile):
    """A flat file, which is read after each change and compared with what it held before.

    `opened` opens it. It is also read here, so changes from before `begin` come again, which does
    no harm. While it is too large, or has lines in bad format, `changes` are as for a
    `WatchedFile`. Raises what `opened` raises, also in `changes`.
    """

    def __init__(self, path: AnyPath, opened: Callable[[OnProblem], Database]) -> None:
        super().__init__(path)
        self._opened = opened
        self._records = self._read()

    def changes(self) -> Changes:
        if self._now() == self._identity:
            return Changes()
        self._look()
        before, now = self._records, self._read()
        self._records = now
        if before is None or now is None:
            return Changes(is_complete=False)
        by_key: dict[bytes, Optional[bytes]] = {
            key: value for key, value in now.items() if before.get(key) != value
        }
        by_key.update(dict.fromkeys(before.keys() - now.keys()))
        return Changes(by_key, len(now))

    def _read(self) -> Optional[dict[bytes, bytes]]:
        if self._identity[2] > _LARGEST_COMPARED:
            return None
        problems: list[CyrusQuotaError] = []
        with self._opened(problems.append) as db:
            records = dict(db) if db.backend == Flat.backend else None
        return None if problems else records
