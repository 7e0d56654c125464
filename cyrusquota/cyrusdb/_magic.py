"""The bytes that files of most formats start with, apart from the readers of those formats."""

from __future__ import annotations

SKIPLIST = b"\xa1\x02\x8b\x0dskiplist file\0\0\0"
TWOSKIP = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0"
TWOM = b"\xa1\x02\x8b\x0dtwomfile\0\0\0\0"
SQLITE = b"SQLite format 3\0"
