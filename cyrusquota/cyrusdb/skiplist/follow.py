"""Follow a skiplist file. A checkpoint makes a new one and cuts the old one to nothing."""

from __future__ import annotations

import contextlib
import os
from typing import Optional

from cyrusquota.cyrusdb.database import Snapshot, Unreadable
from cyrusquota.cyrusdb.follow import NeedsRescan
from cyrusquota.cyrusdb.followed_log import Appended, FollowedLog, LogHeader, record_from
from cyrusquota.cyrusdb.skiplist import layout, records


class FollowedSkiplist(FollowedLog):
    """A skiplist file."""

    def header(self, fd: int) -> Optional[LogHeader]:
        raw = os.pread(fd, layout.HEADER.size, 0)
        if not raw.startswith(layout.MAGIC) or len(raw) < layout.HEADER.size:
            raise NeedsRescan("no skiplist file any more")
        recovered = layout.Header._make(layout.HEADER.unpack(raw)).last_recovery
        # The size is all that tells what was appended, and some of that may not be committed.
        return LogHeader(recovered, os.fstat(fd).st_size, 0, None)

    def begin(self, snapshot: Snapshot) -> None:
        super().begin(snapshot)
        self._records = snapshot.records or 0

    def appended(self, fd: int, data: bytes, base: int) -> Appended:
        log = _Appended(fd, data, base)
        log.read_transactions(0)
        self._records += log.more
        return Appended(log.by_key, log.is_complete, self._records, log.committed)


class _Appended(records.Log):
    """The transactions at the end of a file.

    Without checksums, whether a key is live is all that shows a wrong one, and that is not known
    here. Only a DELETE and an ADD of the same key, which is how a value is replaced, prove one
    another. Other keys are left out, and a full reading has to tell.
    """

    def __init__(self, fd: int, data: bytes, base: int) -> None:
        super().__init__(data, base)
        self._fd = fd
        self.by_key: dict[bytes, Optional[bytes]] = {}
        self.is_complete = True
        #: How many live records were added, less those removed.
        self.more = 0

    def key_before(self, at: int, offset: int) -> bytes:
        if offset >= 0 or offset % layout.ALIGN:
            return super().key_before(at, offset)
        for data in record_from(self._fd, self._base + offset):
            for kind in (layout.INORDER, layout.ADD):
                with contextlib.suppress(Unreadable, records.Unfinished):
                    return records.key_and_end(data, 0, kind)[0]
        return super().key_before(at, offset)

    def apply(self, transaction: list[tuple[int, int]]) -> None:
        steps = iter(transaction)
        step = next(steps, None)
        while step is not None:
            (at, offset), following = step, next(steps, None)
            key = self.keys[offset]
            is_added = at == offset
            if is_added or following is None or following[0] != following[1]:
                self._doubt(key, 1 if is_added else -1)
            elif self.keys[following[1]] != key:
                self._doubt(key, -1)
            else:
                self.by_key[key] = records.value_of(self._data, following[1], len(key))
                following = next(steps, None)
            step = following

    def _doubt(self, key: bytes, more: int) -> None:
        self.is_complete = False
        self.by_key.pop(key, None)
        self.more += more
