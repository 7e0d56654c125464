"""The one interface that all tails share."""

from __future__ import annotations

import abc
from typing import Optional

import attrs

from cyrusquota.cyrusdb.database import Snapshot


class Lost(Exception):
    """The changes cannot be told; the database has to be read anew."""


@attrs.frozen
class Changes:
    """What became of each key that was written, None if it is gone.

    `records` is how many live records there are by now, None where that is not known. Where
    `is_complete` is False there were changes besides, such as deletions that do not name their key,
    or a new file that is taken for a repacked one; read the database anew when there is time.
    """

    by_key: dict[bytes, Optional[bytes]] = attrs.field(factory=dict)
    records: Optional[int] = None
    is_complete: bool = True


class Tail(abc.ABC):
    """A database that is followed."""

    @abc.abstractmethod
    def begin(self, snapshot: Snapshot) -> None:
        """Go on from what was read; raises `Lost` where that was another file."""

    @abc.abstractmethod
    def changes(self) -> Changes:
        """What was committed since. Raises `Lost`, or `SourceError` where nothing can be read."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
