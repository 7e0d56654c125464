"""Writes flat files as Cyrus 2.5 and later do: a new file for every change, then a rename."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from cyrusquota.cyrusdb.database import MAILBOX_ORDER

_ESCAPES = {byte: bytes((0xFF, byte | 0x80)) for byte in b"\0\t\r\n"} | {0xFF: b"\xff\xff"}


def escaped(text: bytes) -> bytes:
    """`text` with the bytes escaped that mean something in the file."""
    return b"".join(_ESCAPES.get(byte, bytes((byte,))) for byte in text)


class FlatWriter:
    """A writer of a flat file; every second abort is one of a killed process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new = path.with_name(path.name + ".NEW")
        self._rows: dict[bytes, bytes] = {}
        self._changed: Optional[dict[bytes, bytes]] = None
        self._written = False
        self._aborts = 0
        path.touch()

    def begin(self) -> None:
        self._changed = dict(self._rows)
        self._written = False

    def set(self, key: bytes, value: bytes) -> None:
        assert self._changed is not None
        self._changed[key] = value
        self._write()

    def delete(self, key: bytes) -> None:
        assert self._changed is not None
        if self._changed.pop(key, None) is not None:
            self._write()

    def commit(self) -> None:
        assert self._changed is not None
        self._rows, self._changed = self._changed, None
        if self._written:
            os.replace(self._new, self.path)

    def abort(self) -> None:
        self._changed = None
        self._aborts += 1
        if self._aborts % 2:
            self._new.unlink(missing_ok=True)

    def repack(self) -> None:
        """There is nothing to repack: no change leaves anything behind."""

    def _write(self) -> None:
        assert self._changed is not None
        lines = (escaped(key) + b"\t" + escaped(value) for key, value in self._changed.items())
        in_order = sorted(lines, key=lambda line: line.translate(MAILBOX_ORDER))
        self._new.unlink(missing_ok=True)
        self._new.write_bytes(b"".join(line + b"\n" for line in in_order))
        self._written = True
