"""The plain reader of quotalegacy trees, which defines what is right: one small file for each key.

Cyrus replaces a file by renaming a new one over it, so what one read gives is always one whole
version of that key. A 0-byte file is a key about to be created, `*.NEW` one about to be replaced.
Switching fulldirhash or virtdomains strands the old files; `fulldirhash` and `virtdomains` say
which ones Cyrus looks at. Where that is not known, all are read, and a key that has two files is a
problem and left out.
"""

from __future__ import annotations

import os
from typing import Iterator, Optional

from cyrusquota.cyrus.repairs import MOVE_FILE, SET_LIMIT
from cyrusquota.cyrusdb.database import Database, Snapshot, check_presence, opened
from cyrusquota.cyrusdb.quotalegacy import layout
from cyrusquota.errors import (
    AnyPath,
    DamagedDatabase,
    NoSuchSource,
    OnProblem,
    Place,
    printable,
    source_error,
)

_PERMISSIONS = "check its owner and permissions"


class QuotaTree(Database):
    """A quotalegacy tree; `path` is the directory that holds quota/ (and domain/), or quota/."""

    backend = "quotalegacy"

    def __init__(
        self,
        path: AnyPath,
        on_problem: OnProblem,
        *,
        fulldirhash: Optional[bool] = None,
        virtdomains: Optional[bool] = None,
    ) -> None:
        super().__init__(path, on_problem)
        self._letters = layout.letters(fulldirhash)
        self._virtdomains = virtdomains
        self._times: dict[bytes, int] = {}
        self._files = self._found(os.fsencode(path))
        self._bytes = 0
        self._records = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        self._bytes = self._records = 0
        for key, path in self._files.items():
            raw = self._contents(path, key)
            if not raw:
                continue
            if not raw.endswith(layout.LINE_BREAK):
                self._damaged(path, key, "a line break at the end", SET_LIMIT, found=raw)
                continue
            self._bytes += len(raw)
            self._records += 1
            yield key, layout.value(raw)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.backend, self._bytes, self._records)

    def has_changed(self) -> bool:
        """Return whether a directory has changed, as with every key that does."""
        return any(time_of(directory) != then for directory, then in self._times.items())

    def _contents(self, path: bytes, key: bytes) -> bytes:
        name = os.fsdecode(path)
        try:
            with opened(name) as file:
                check_presence(file.fileno(), os.fstat(file.fileno()).st_size, name)
                return file.read()
        except FileNotFoundError:
            # Removed since the directory was listed.
            return b""
        except DamagedDatabase as damaged:
            self._on_problem(damaged)
            return b""
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._damaged(path, key, f"a readable file ({reason})", _PERMISSIONS)
            return b""

    def _damaged(
        self, path: bytes, key: bytes, expected: str, advice: str, found: Optional[bytes] = None
    ) -> None:
        place = Place(os.fsdecode(path), key=key or None)
        self._on_problem(DamagedDatabase(expected, place=place, found=found, advice=advice))

    def _found(self, base: bytes) -> dict[bytes, bytes]:
        """Return the file of each key."""
        files: dict[bytes, bytes] = {}
        twice: dict[bytes, bytes] = {}
        for key, path in self._listed(base):
            if files.setdefault(key, path) != path:
                twice[key] = path
        for key, path in twice.items():
            other = printable(os.fsdecode(files.pop(key)))
            advice = "remove the stale one, or name imapd.conf with -C to tell which one counts"
            place = Place(os.fsdecode(path), key=key)
            problem = DamagedDatabase(
                f"one file for a root, but {other} exists too", place=place, advice=advice
            )
            self._on_problem(problem)
        return files

    def _listed(self, base: bytes) -> Iterator[tuple[bytes, bytes]]:
        quota, domain = os.path.join(base, layout.QUOTA), os.path.join(base, layout.DOMAIN)
        if not os.path.isdir(quota) and not os.path.isdir(domain):
            yield from self._quota_directory(self._bare(base), None)
            return
        if os.path.isdir(quota):
            yield from self._quota_directory(quota, None)
        if os.path.isdir(domain) and self._virtdomains is not False:
            for letter, name, path in self._hashed(domain):
                inner = os.path.join(path, layout.QUOTA)
                if os.path.isdir(inner) and self._is_in_place(letter, name, path, name + b"!"):
                    yield from self._quota_directory(inner, name)

    def _bare(self, path: bytes) -> bytes:
        """Return `path` if it is a quota/ itself rather than the directory that holds one."""
        entries = self._entries(path)
        is_quota = os.path.basename(os.path.normpath(path)) == layout.QUOTA
        if not is_quota and not any(entry in layout.letters(None) for entry in entries):
            raise NoSuchSource(
                f"{printable(os.fsdecode(path))}: expected a directory that holds quota/ or"
                " domain/, or quota/ itself; name the directory above quota/, or a database file"
            )
        return path

    def _quota_directory(
        self, path: bytes, domain: Optional[bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        prefix = b"" if domain is None else domain + b"!"
        if domain is not None and layout.ROOT in self._entries(path):
            yield prefix, os.path.join(path, layout.ROOT)
        for letter, name, file in self._hashed(path):
            # With virtdomains on, `!` in a name cannot be: its file lies below domain/.
            is_stranded = domain is None and self._virtdomains and b"!" in name
            hashed = layout.hashed(name)
            if not is_stranded and self._is_in_place(letter, hashed, file, prefix + name):
                yield prefix + name, file

    def _hashed(self, path: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield letter, name and path of what is in the one-letter directories of `path`."""
        for letter in self._entries(path):
            if letter in self._letters:
                within = os.path.join(path, letter)
                for name in self._entries(within):
                    if layout.counts(name):
                        yield letter, name, os.path.join(within, name)

    def _is_in_place(self, letter: bytes, hashed: bytes, path: bytes, key: bytes) -> bool:
        """Return whether Cyrus would look for `path` where it is."""
        right = layout.letter(hashed, full=letter in layout.FULL)
        if right != letter and key.endswith(layout.UNFINISHED):
            # About to replace the root `user`.
            return False
        if right != letter:
            expected = f"it in the directory {right.decode()}, where Cyrus looks"
            self._damaged(path, key, expected, MOVE_FILE)
            return False
        return True

    def _entries(self, path: bytes) -> list[bytes]:
        # The time is taken first: what changes while the directory is read shows later.
        self._times[path] = time_of(path)
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            self._damaged(path, b"", "a directory", "move it away")
            return []
        except OSError as error:
            raise source_error(error, os.fsdecode(path)) from error


def time_of(directory: bytes) -> int:
    """Return when a directory was changed, in nanoseconds; -1 where there is none."""
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return -1
