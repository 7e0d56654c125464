"""Writes quotalegacy trees as Cyrus does (cyrusdb_quotalegacy.c)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from cyrusquota.cyrusdb.quotalegacy import layout


class QuotalegacyWriter:
    """A tree; `path` is the directory that holds quota/ and domain/.

    Cyrus locks the files of a transaction and renames all of them at its end. A key that is new is
    an empty file until then, so that is what an abort may leave, beside a `.NEW`.
    """

    def __init__(
        self, path: Path, seed: int = 0, *, fulldirhash: bool = False, virtdomains: bool = False
    ) -> None:
        self.path = path
        self._fulldirhash = fulldirhash
        self._virtdomains = virtdomains
        self._pending: dict[bytes, Optional[bytes]] = {}
        (path / os.fsdecode(layout.QUOTA)).mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        self._pending = {}

    def set(self, key: bytes, value: bytes) -> None:
        self._pending[key] = value

    def delete(self, key: bytes) -> None:
        self._pending[key] = None

    def commit(self) -> None:
        """Rename every new file over the old one, and unlink the deleted."""
        for key, value in self._pending.items():
            file = self._file(key)
            if value is None:
                if os.path.exists(file):
                    os.unlink(file)
            else:
                os.rename(self._new(file, value), file)
        self._pending = {}

    def abort(self) -> None:
        """Leave the tree as a writer does that was killed before its first rename."""
        for key, value in self._pending.items():
            if value is not None:
                file = self._file(key)
                self._new(file, value)
                if not os.path.exists(file):
                    with open(file, "wb"):
                        pass
        self._pending = {}

    def repack(self) -> None:
        """There is nothing to repack."""

    def _new(self, file: bytes, value: bytes) -> bytes:
        """Write `file`.NEW; gives back its name."""
        os.makedirs(os.path.dirname(file), exist_ok=True)
        # Values of the old form have a line for each of their two numbers.
        is_dlist = value.startswith(layout.DLIST)
        content = value if is_dlist else value.replace(b" ", layout.LINE_BREAK, 1)
        with open(file + layout.UNFINISHED, "wb") as new:
            new.write(content + layout.LINE_BREAK)
        return file + layout.UNFINISHED

    def _file(self, key: bytes) -> bytes:
        base, full = os.fsencode(self.path), self._fulldirhash
        domain, bang, rest = key.partition(b"!")
        if not (self._virtdomains and bang):
            return b"/".join((base, layout.QUOTA, letter(_behind_dot(key), full=full), key))
        base = b"/".join((base, layout.DOMAIN, letter(domain, full=full), domain, layout.QUOTA))
        if not rest:
            return b"/".join((base, layout.ROOT))
        return b"/".join((base, letter(_behind_dot(rest), full=full), rest))


def letter(name: bytes, *, full: bool) -> bytes:
    """The directory for what is hashed: a user, a folder or a domain."""
    if not full:
        first = name[:1].lower()
        return first if first.isalpha() else b"q"
    number = 0
    for byte in name.partition(b".")[0]:
        number = ((number << 3 ^ number >> 5) ^ byte) & 0xFFFFFFFF
    return bytes((ord("A") + number % 23,))


def _behind_dot(name: bytes) -> bytes:
    _, dot, rest = name.partition(b".")
    return rest if dot else name
