"""Keep the entries of a map while users come and go."""

from __future__ import annotations

from typing import Callable, Iterable, Mapping, Optional, Protocol, Union

from cyrusquota.cyrus.names import Recipient
from cyrusquota.follow.sorted_lines import SortedLines
from cyrusquota.maps import Entry, Row
from cyrusquota.maps.status import OVER, Status

#: Returns the entries that give a recipient a status: one, or none for exempt recipients.
Entries = Callable[[Recipient, Status], Iterable[Entry]]


#: The name of a user, whatever their address is.
Name = Union[str, bytes]


class Listing(Protocol):
    """Something that is told which users are listed."""

    def put(self, name: Name, to: Recipient, status: Status) -> None:
        """List the user `name`, who is reached as `to`."""

    def drop(self, name: Name) -> None:
        """Remove the user `name`."""


class _Key:
    """What is known of a key: its only user, or several with their values, and how it is written.

    `value` is None while the users have different ones. `written` is the key as the map writes it,
    and None while it is not listed. There can be a hundred thousand of these.
    """

    __slots__ = ("users", "value", "written")

    def __init__(self, user: Name) -> None:
        self.users: Union[Name, dict[Name, bytes]] = user
        self.value: Optional[bytes] = None
        self.written: Optional[bytes] = None


class MapEntries:
    """The entries of a map, by the names of the users.

    Users with the same key share an entry while they have the same value; otherwise none of them
    has an entry, as in `maps.entries`. `row` is that of the format. `also` is told of the
    same users.
    """

    def __init__(
        self,
        entries: Entries,
        row: Callable[[Entry], Optional[Row]],
        also: Optional[Listing] = None,
    ) -> None:
        self._entries = entries
        self._row = row
        self.also = also
        #: None for users who have no entry.
        self._key_of: dict[Name, Optional[bytes]] = {}
        self._keys: dict[bytes, _Key] = {}
        self._near: set[Name] = set()
        self._lines = SortedLines()
        #: Goes up with every change of `body`.
        self.version = 0

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def near(self) -> int:
        """The number of users who are not certainly full."""
        return len(self._near)

    def put(self, name: Name, to: Recipient, status: Status) -> None:
        """List the user `name` under the key of `to`."""
        if self.also is not None:
            self.also.put(name, to, status)
        entry = next(iter(self._entries(to, status)), None)
        key = None if entry is None else entry.key
        if self._key_of.get(name, key) != key:
            self._drop(name)
        (self._near.discard if status == OVER else self._near.add)(name)
        # Of bytes that are equal, only one copy is kept.
        key = name if isinstance(name, bytes) and name == key else key
        self._key_of[name] = key
        if entry is not None and key is not None:
            self._give(key, name, entry.value)

    def drop(self, name: Name) -> None:
        """Remove the user `name`."""
        if self.also is not None:
            self.also.drop(name)
        self._drop(name)

    def _drop(self, name: Name) -> None:
        key = self._key_of.pop(name, None)
        self._near.discard(name)
        if key is None:
            return
        known = self._keys[key]
        if not isinstance(known.users, dict):
            self._update(key, known, None)
            del self._keys[key]
            return
        del known.users[name]
        self._update(key, known, _common(known.users))
        if len(known.users) == 1:
            (known.users,) = known.users

    def _give(self, key: bytes, name: Name, value: bytes) -> None:
        """Let the user `name` have `value` under `key`."""
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = _Key(name)
        if isinstance(known.users, dict):
            known.users[name] = value
        elif known.users != name and known.value is not None:
            known.users = {known.users: known.value, name: value}
        common = _common(known.users) if isinstance(known.users, dict) else value
        self._update(key, known, common)

    def _update(self, key: bytes, known: _Key, value: Optional[bytes]) -> None:
        """List `key` with `value`, or not at all."""
        if known.value == value:
            return
        known.value = value
        row = None if value is None else self._row(Entry(key, value))
        had = known.written is not None
        if row is not None:
            self._lines.put(key, row.line)
        elif had:
            self._lines.drop(key)
        # Mostly that is the key itself.
        known.written = None if row is None else key if row.key == key else row.key
        self.version += had or row is not None

    def entries(self) -> list[Entry]:
        """Return the entries in the order of the keys."""
        return [Entry(key, self._keys[key].value or b"") for key in self._lines]

    def keys(self) -> frozenset[bytes]:
        """Return the keys as the map writes them."""
        written = (known.written for known in self._keys.values())
        return frozenset([key for key in written if key is not None])

    def body(self) -> bytes:
        """Return the lines of the map in the order of the keys, as `Format.body` does."""
        return self._lines.joined()

    def lines(self) -> Iterable[bytes]:
        """Return each of these lines."""
        return self._lines.lines()


def _common(values: Mapping[Name, bytes]) -> Optional[bytes]:
    """Return the value that all users have, or None where they differ."""
    found = set(values.values())
    return found.pop() if len(found) == 1 else None
