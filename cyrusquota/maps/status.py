"""The statuses of users, whatever the format of a map: full, nearly full, or how much is left.

A follower keeps statuses, and hosts tell each other statuses. Each map makes its own values of them
(`MapValues.of`).
"""

from __future__ import annotations

import re
from typing import Optional

#: What is known of a user who is listed: `OVER`, `NEAR`, or what `free` returns.
Status = bytes

#: Certainly full: Cyrus would refuse the next message.
OVER: Status = b"over"
#: Less than the reserve is left, or the user is full but not certainly so.
NEAR: Status = b"near"

_FREE = re.compile(rb"free=(?:0|[1-9][0-9]{0,17})")
#: Every status, as a pattern without groups.
PATTERN = b"|".join((OVER, NEAR, _FREE.pattern))


def free(size: int) -> Status:
    """Return the status of a user who has `size` bytes left."""
    return b"free=%d" % size


def size_left(status: Status) -> Optional[int]:
    """Return the bytes left, or None for a user who counts as full."""
    return int(status.partition(b"=")[2]) if _FREE.fullmatch(status) else None
