"""Follow a twoskip file. Its deletions do not name their key, but where it was."""

from __future__ import annotations

import contextlib
import os
from typing import AbstractSet, Optional

from cyrusquota.cyrusdb.database import Unreadable, attempts
from cyrusquota.cyrusdb.follow import Gap, NeedsRescan, in_gaps
from cyrusquota.cyrusdb.followed_log import HEADER_LOOKS, Appended, FollowedLog, LogHeader
from cyrusquota.cyrusdb.selection import FastPathUnsupported
from cyrusquota.cyrusdb.twoskip import layout, records
from cyrusquota.cyrusdb.twoskip.lookup import LiveRecords

#: Where there are more, reading everything again takes no longer.
_MOST_GAPS = 1000


class FollowedTwoskip(FollowedLog):
    """A twoskip file."""

    def header(self, fd: int) -> Optional[LogHeader]:
        for _ in attempts(HEADER_LOOKS):
            raw = os.pread(fd, layout.HEADER.size, 0)
            if not records.is_header(raw):
                raise NeedsRescan("no twoskip file any more")
            header = records.checked_header(raw)
            if header is not None:
                if header.version != layout.VERSION:
                    raise NeedsRescan("another version")
                known = None if header.flags & layout.DIRTY else header.num_records
                return LogHeader(header.generation, header.current_size, header.repack_size, known)
        return None

    def appended(self, fd: int, data: bytes, base: int) -> Appended:
        by_key: dict[bytes, Optional[bytes]] = {}
        behind = set[int]()
        for _, head in records.checked(data, 0, records.settled(fd), base):
            if head.kind == layout.RECORD:
                by_key[data[head.key : head.value]] = data[head.value : head.tail]
            elif head.kind == layout.DELETE:
                behind.add(records.pointer(data, head, 0))
        gaps = _gaps(fd, behind, by_key.keys()) if behind else frozenset()
        if gaps is None:
            return Appended(by_key, False, None, len(data))
        gone, is_sure = in_gaps(by_key, gaps)
        by_key.update(dict.fromkeys(gone))
        return Appended(by_key, is_sure, None, len(data), gaps)


def _gaps(fd: int, behind: set[int], stored: AbstractSet[bytes]) -> Optional[frozenset[Gap]]:
    """Return where keys were deleted before the records at `behind`, 0 for the end.

    Keys that were `stored` since may stand between the two. That is as of now, which may be later
    than what was read; what is written until then is met again. None where the pointers do not
    tell, or not soon.
    """
    if len(behind) + len(stored) > _MOST_GAPS:
        return None
    with contextlib.suppress(FastPathUnsupported):
        for _ in attempts(HEADER_LOOKS):
            with contextlib.suppress(Unreadable):
                live = LiveRecords(fd)
                keys = {live.key_at(at) if at else None for at in behind} | stored
                found = frozenset(Gap(*live.neighbours(key)) for key in keys)
                if live.is_current():
                    return found
    return None
