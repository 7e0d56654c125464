"""Follow a twom file. A deletion names the record that it is about."""

from __future__ import annotations

import os
from typing import Optional

from cyrusquota.cyrusdb.database import Unreadable, attempts
from cyrusquota.cyrusdb.follow import NeedsRescan
from cyrusquota.cyrusdb.followed_log import (
    HEADER_LOOKS,
    Appended,
    FollowedLog,
    LogHeader,
    record_from,
)
from cyrusquota.cyrusdb.twom import layout, records


class FollowedTwom(FollowedLog):
    """A twom file."""

    def header(self, fd: int) -> Optional[LogHeader]:
        before = b""
        for _ in attempts(HEADER_LOOKS, at_once=2):
            raw = os.pread(fd, layout.HEADER.size, 0)
            if not records.is_header(raw):
                raise NeedsRescan("no twom file any more")
            header = records.checked_header(raw, before)
            if header is not None:
                if header.version != layout.VERSION or header.flags & layout.CSUM_EXTERNAL:
                    raise NeedsRescan("another version")
                self._flags = header.flags
                size, start = header.current_size, header.repack_size
                return LogHeader(header.generation, size, start, header.num_records)
            before = raw
        return None

    def appended(self, fd: int, data: bytes, base: int) -> Appended:
        found = _Appended(fd, data, base, self._flags)
        is_complete = found.read()
        return Appended(found.by_key, is_complete, None, len(data))


class _Appended:
    """What was appended to a twom file, at `base`."""

    def __init__(self, fd: int, data: bytes, base: int, flags: int) -> None:
        self._fd = fd
        self._data = data
        self._base = base
        self._flags = flags
        self._settle = records.settled(fd, flags)
        self.by_key: dict[bytes, Optional[bytes]] = {}
        #: The offset in the file of each record stored, by key; 0 where it was deleted.
        self._stored: dict[bytes, int] = {}

    def read(self) -> bool:
        """Return whether that is all; raises `Unreadable`."""
        data, is_complete = self._data, True
        for at, head in records.checked(data, 0, self._flags, self._settle, self._base):
            if head.kind in layout.STORES:
                if not records.tail_is_right(self._flags, data, head):
                    raise Unreadable(at, "the checksum of a record")
                key = data[head.key : head.key_end]
                self.by_key[key] = data[head.value : head.value_end]
                self._stored[key] = self._base + at
            elif head.kind == layout.DELETE and self._flags & layout.CSUM_NULL:
                # Nothing tells then whether it names the right record.
                is_complete = False
            elif head.kind == layout.DELETE:
                self._delete(at, records.ancestor(data, at, head))
        return is_complete

    def _delete(self, at: int, ancestor: int) -> None:
        """Note that the key of the record at `ancestor` is gone, says the one at `at`."""
        key = self._key(ancestor) if 0 < ancestor < self._base + at else None
        if key is None or self._stored.get(key, ancestor) != ancestor:
            raise Unreadable(at, f"a live record at the offset {ancestor} that it names")
        self.by_key[key] = None
        self._stored[key] = 0

    def _key(self, at: int) -> Optional[bytes]:
        """Return the key of the record at `at`, old or new; None where there is no right one."""
        for data in record_from(self._fd, at):
            try:
                head = records.checked_head(data, 0, self._flags, self._settle, at)
            except Unreadable:
                continue
            is_right = head.kind in layout.STORES and records.tail_is_right(self._flags, data, head)
            return data[head.key : head.key_end] if is_right else None
        return None
