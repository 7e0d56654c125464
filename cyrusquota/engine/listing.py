"""The users of a store as its publisher lists them, and which of them have changed."""

from __future__ import annotations

from cyrusquota.cyrus.names import Recipient
from cyrusquota.engine import protocol
from cyrusquota.follow.map_entries import Name
from cyrusquota.maps.status import Status


class StoreListing:
    """The entries of a store, by the names of the users (a `follow.map_entries.Listing`).

    Users with the same key share an entry while they have the same status; otherwise none of them
    has an entry, as in a map. `changed` has the keys that have changed since it was emptied.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, Status] = {}
        self.changed: set[bytes] = set()
        self._key_of: dict[Name, bytes] = {}
        #: The statuses for a key, by user.
        self._statuses: dict[bytes, dict[Name, Status]] = {}

    def put(self, name: Name, to: Recipient, status: Status) -> None:
        """List the user `name` under the key of `to`."""
        key = protocol.key_of(to)
        if self._key_of.get(name, key) != key:
            self.drop(name)
        self._key_of[name] = key
        self._statuses.setdefault(key, {})[name] = status
        self._renew(key)

    def drop(self, name: Name) -> None:
        """Remove the user `name`."""
        key = self._key_of.pop(name, None)
        if key is not None:
            del self._statuses[key][name]
            self._renew(key)

    def _renew(self, key: bytes) -> None:
        found = set(self._statuses[key].values())
        if not found:
            del self._statuses[key]
        status = found.pop() if len(found) == 1 else None
        if self.entries.get(key) == status:
            return
        self.changed.add(key)
        if status is None:
            del self.entries[key]
        else:
            self.entries[key] = status
