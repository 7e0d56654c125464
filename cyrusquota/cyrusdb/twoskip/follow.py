"""Follow a twoskip file. Its deletions do not name their key, so they are changes besides."""

from __future__ import annotations

import os
from typing import Optional

from cyrusquota.cyrusdb.database import attempts
from cyrusquota.cyrusdb.follow import HEADER_LOOKS, Appended, FollowedLog, LogHeader, NeedsRescan
from cyrusquota.cyrusdb.twoskip import layout, records


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
        is_complete = True
        for _, head in records.checked(data, 0, records.settled(fd), base):
            if head.kind == layout.RECORD:
                by_key[data[head.key : head.value]] = data[head.value : head.tail]
            elif head.kind == layout.DELETE:
                is_complete = False
        return Appended(by_key, is_complete, None, len(data))
