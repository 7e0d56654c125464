"""Databases written the way Cyrus writes them, to test readers against.

Written after the public layouts, without anything else of the readers, and Cyrus's own tools read
the results in the integration tests of this package. Small, and slow with more than a few hundred
records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from . import flat, quotalegacy, skiplist, sqlite, twom, twoskip


class Writer(Protocol):
    """Writes the database at `path`, which is made if it is not there.

    `set` and `delete` belong between `begin` and `commit` or `abort`; an abort leaves what Cyrus's
    own, or the end of a killed process, leaves. `repack` is whatever makes the file smaller.
    """

    path: Path

    def __init__(self, path: Path) -> None: ...
    def begin(self) -> None: ...
    def set(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def commit(self) -> None: ...
    def abort(self) -> None: ...
    def repack(self) -> None: ...


#: The writer for each backend.
WRITERS: dict[str, type[Writer]] = {
    "flat": flat.FlatWriter,
    "quotalegacy": quotalegacy.QuotalegacyWriter,
    "skiplist": skiplist.SkiplistWriter,
    "sql": sqlite.SqliteWriter,
    "twom": twom.TwomWriter,
    "twoskip": twoskip.TwoskipWriter,
}


def close(writer: Writer) -> None:
    """Let go of what `writer` holds, if it holds anything."""
    if isinstance(writer, sqlite.SqliteWriter):
        writer.close()
