"""An independent writer of twoskip files, as logs: the pointers along the list are left out."""

from __future__ import annotations

import struct
import zlib
from typing import Optional

MAGIC = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0"
BLANK = b" BLANK\x07\xa0"


class Writer:
    """A file that grows by what is put, deleted and committed."""

    def __init__(self) -> None:
        self.live: dict[bytes, bytes] = {}
        self._offsets: dict[bytes, int] = {}
        self._log = self._record(b"=", 31, b"", b"")
        self._start = self._end

    @property
    def _end(self) -> int:
        return 64 + len(self._log)

    def put(self, key: bytes, value: bytes) -> None:
        """Set a key, new or not."""
        self._offsets[key] = self._end
        self.live[key] = value
        self._log += self._record(b"+", 1, key, value)

    def delete(self, key: bytes) -> None:
        """Delete a live key."""
        del self.live[key], self._offsets[key]
        behind = min((other for other in self.live if other > key), default=None)
        following = 0 if behind is None else self._offsets[behind]
        self._log += self._record(b"-", 0, b"", b"", following)

    def commit(self) -> None:
        """End a transaction."""
        self._log += self._record(b"$", 0, b"", b"", self._start)
        self._start = self._end

    def blank(self) -> None:
        """A filler, as 3.2 and later leave between records."""
        self._log += BLANK

    def file(
        self,
        *,
        version: int = 1,
        flags: int = 0,
        records: Optional[int] = None,
        size: Optional[int] = None,
    ) -> bytes:
        """All of the file, under a header that tells the truth unless told otherwise."""
        header = MAGIC + struct.pack(
            ">IQQQQI",
            version,
            1,
            len(self.live) if records is None else records,
            336,
            self._end if size is None else size,
            flags,
        )
        return header + struct.pack(">I", zlib.crc32(header)) + self._log

    @staticmethod
    def _record(kind: bytes, level: int, key: bytes, value: bytes, pointer: int = 0) -> bytes:
        long = len(key) >= 0xFFFF
        head = kind + struct.pack(">BHI", level, 0xFFFF if long else len(key), len(value))
        if long:
            head += struct.pack(">Q", len(key))
        head += struct.pack(">Q", pointer) + bytes(8 * level)
        tail = key + value + bytes(-(len(key) + len(value)) % 8)
        crcs = struct.pack(">II", zlib.crc32(head), zlib.crc32(tail) if tail else 0)
        return head + crcs + tail
