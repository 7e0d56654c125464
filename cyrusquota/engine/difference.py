"""The difference between two states of the entries of a store."""

from __future__ import annotations

from typing import Iterable, Optional

import attrs

from cyrusquota.engine import protocol
from cyrusquota.engine.protocol import Change, Entries
from cyrusquota.maps.status import Status


@attrs.define
class Difference:
    """What makes one state of a store another one: new values by key, None for dropped keys."""

    values: dict[bytes, Optional[Status]]

    @property
    def put(self) -> dict[bytes, Status]:
        """The entries with new values."""
        return {key: value for key, value in self.values.items() if value is not None}

    @property
    def drop(self) -> tuple[bytes, ...]:
        """The keys that are dropped."""
        return tuple([key for key, value in self.values.items() if value is None])

    @classmethod
    def between(cls, old: Entries, new: Entries) -> Difference:
        """Return what makes the entries `old` the entries `new`."""
        values: dict[bytes, Optional[Status]] = {
            key: value for key, value in new.items() if old.get(key) != value
        }
        values.update(dict.fromkeys(key for key in old if key not in new))
        return cls(values)

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Difference:
        """Return what several changes, one after the other, make of any entries."""
        values: dict[bytes, Optional[Status]] = {}
        for change in changes:
            # As `write` of functions.lua makes it.
            values.update(change.put)
            values.update(dict.fromkeys(change.drop))
        return cls(values)

    def added(self, old: Entries) -> list[bytes]:
        """Return the keys that are new beside `old`."""
        return [key for key, value in self.values.items() if value is not None and key not in old]

    def removed(self, old: Entries) -> list[bytes]:
        """Return the keys that are dropped from `old`."""
        return [key for key, value in self.values.items() if value is None and key in old]

    def digest(self, old: Entries, digest: int) -> int:
        """Return the digest of `old`, which has the digest `digest`, after the change."""
        for key, value in self.values.items():
            before = old.get(key)
            if before is not None:
                digest ^= protocol.entry_digest(key, before)
            if value is not None:
                digest ^= protocol.entry_digest(key, value)
        return digest

    def apply(self, entries: dict[bytes, Status]) -> None:
        """Make the change."""
        for key, value in self.values.items():
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
