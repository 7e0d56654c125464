"""The entries of a map, kept in order while users come and go."""

from __future__ import annotations

from typing import Callable, Iterable, Optional

from cyrusquota.mailbox import Recipient
from cyrusquota.maps import Entry

#: The entries for one recipient: one, or none for somebody who is never listed.
Entries = Callable[[Recipient], Iterable[Entry]]
#: One entry in the map: the key as it is written there, and the whole line.
Line = Callable[[Entry], tuple[bytes, bytes]]


class Listing:
    """Lines of a map by the name of the user whom they are for; several may share one."""

    def __init__(self, entries: Entries, line: Line) -> None:
        self._entries = entries
        self._line = line
        self._keys_of: dict[str, tuple[tuple[bytes, ...], bool]] = {}
        self._lines: dict[bytes, tuple[bytes, bytes]] = {}
        self._users: dict[bytes, int] = {}
        self._sorted: Optional[list[bytes]] = []
        self.near = 0
        #: Goes up with every change of what `body` gives.
        self.version = 0

    def __len__(self) -> int:
        return len(self._lines)

    def put(self, name: str, to: Recipient, *, over: bool) -> None:
        """List the user `name` under what `to` is called; not `over` is only near."""
        self.drop(name)
        entries = tuple(self._entries(to))
        self._keys_of[name] = tuple(entry.key for entry in entries), over
        self.near += not over
        for entry in entries:
            self._users[entry.key] = self._users.get(entry.key, 0) + 1
            if entry.key not in self._lines:
                self._lines[entry.key] = self._line(entry)
                self._sorted = None
                self.version += 1

    def drop(self, name: str) -> None:
        """Do not list the user `name` any more."""
        keys, over = self._keys_of.pop(name, ((), True))
        self.near -= not over
        for key in keys:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._lines[key]
                self._sorted = None
                self.version += 1

    def keys(self) -> frozenset[bytes]:
        """What the map is keyed by, as it is written there."""
        return frozenset([written for written, _ in self._lines.values()])

    def body(self) -> bytes:
        """All lines, in the order of their keys."""
        if self._sorted is None:
            self._sorted = sorted(self._lines)
        return b"".join([self._lines[key][1] for key in self._sorted])
