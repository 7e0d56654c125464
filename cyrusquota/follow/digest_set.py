"""A large set of names in sixteen bytes each."""

from __future__ import annotations

import bisect
import os
from hashlib import blake2b
from typing import Iterable

_SIZE = 16
#: Keyed, so that collisions cannot be crafted.
_KEY = os.urandom(_SIZE)


class DigestSet:
    """A set of names that holds only digests, for a million names of which few ever change."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._sorted = b"".join(sorted({_digest(name) for name in names}))
        #: Digests that were added (True) or removed since.
        self._changed: dict[bytes, bool] = {}

    def __contains__(self, name: str) -> bool:
        digest = _digest(name)
        known = self._changed.get(digest)
        if known is not None:
            return known
        rows = _Rows(self._sorted)
        at = bisect.bisect_left(rows, digest)
        return at < len(rows) and rows[at] == digest

    def add(self, name: str) -> None:
        self._changed[_digest(name)] = True

    def discard(self, name: str) -> None:
        self._changed[_digest(name)] = False


class _Rows:
    """The sequence of sorted digests in a string of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data) // _SIZE

    def __getitem__(self, index: int) -> bytes:
        return self._data[index * _SIZE : (index + 1) * _SIZE]


def _digest(name: str) -> bytes:
    encoded = name.encode("utf-8", "surrogateescape")
    return blake2b(encoded, digest_size=_SIZE, key=_KEY).digest()
