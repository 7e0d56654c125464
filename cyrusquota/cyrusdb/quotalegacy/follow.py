"""Follow a quotalegacy tree: every change of a key renames a file into its directory.

With inotify the kernel names the files. Where it does not, or allows too few watches for the tree,
directories whose time has changed are listed again, and the files in them that are as new as that
are read: the time of a file's last change of status comes from the same clock as that of its
directory, and no program can set it.
"""

from __future__ import annotations

import os
import time
from typing import Any, Iterator, Optional

import attrs

from cyrusquota.cyrusdb.database import Snapshot, check_presence, opened
from cyrusquota.cyrusdb.follow import Changes, Followed, NeedsRescan
from cyrusquota.cyrusdb.quotalegacy import inotify, layout
from cyrusquota.cyrusdb.quotalegacy.inotify import Inotify, Mask
from cyrusquota.cyrusdb.quotalegacy.reader import time_of
from cyrusquota.errors import AnyPath, DamagedDatabase

_TOP, _INNER = frozenset((layout.QUOTA, layout.DOMAIN)), frozenset((layout.QUOTA,))
#: The clock of a file system may tick as slowly as this.
_GRANULARITY_NS = 2_000_000_000
#: Above so many changes at once, a full reading takes no longer.
_MOST = 200_000


@attrs.define
class _Directory:
    """A directory of the tree: with files in it if it has a letter, with directories otherwise."""

    path: bytes
    domain: Optional[bytes] = None
    letter: Optional[bytes] = None
    #: Whether it is a domain's own quota/, with the file `root`.
    has_root: bool = False
    #: The subdirectories that count; None: all of them.
    only: Optional[frozenset[bytes]] = None
    time: int = -1
    #: What it held: subdirectories by name, or the hashes of the names of its files.
    held: frozenset[Any] = frozenset()

    def leads_to(self, name: bytes) -> bool:
        """Return whether a subdirectory `name` would count."""
        return self.letter is None and (self.only is None or name in self.only)


class FollowedTree(Followed):
    """A tree; the arguments are those of `QuotaTree`."""

    def __init__(
        self,
        path: AnyPath,
        *,
        fulldirhash: Optional[bool] = None,
        virtdomains: Optional[bool] = None,
    ) -> None:
        self._letters = layout.letters(fulldirhash)
        self._virtdomains = virtdomains
        self._base = os.fsencode(path)
        queue = inotify.opened()
        self._watch = None if queue is None else _Watch(queue)
        self._directories = self._walked()
        letters = {directory.letter for directory in self._directories.values()} - {None}
        # A key may have two files then, and which one counts only a full reading tells.
        self._is_mixed = bool(letters & layout.PLAIN and letters & layout.FULL)

    def begin(self, snapshot: Snapshot) -> None:
        """Do nothing: changes from before the reading come again, which does no harm."""

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def changes(self) -> Changes:
        by_key: dict[bytes, Optional[bytes]] = {}
        is_complete = True
        for directory, name in self._changed():
            if name is None:
                is_complete = False
                continue
            key = self._key(directory, name)
            if key is None:
                # Not where Cyrus looks, which a full reading reports.
                is_complete = False
                continue
            value, is_sound = _content(os.path.join(directory.path, name))
            by_key[key] = value
            is_complete &= is_sound
            if len(by_key) > _MOST:
                raise NeedsRescan("too many files changed")
        return Changes(by_key, None, is_complete and not (self._is_mixed and by_key))

    # The directories

    def _walked(self) -> dict[bytes, _Directory]:
        """Return the directories by path, watched if the kernel allows watches for all."""
        try:
            return {directory.path: directory for directory in self._walk()}
        except _NoMoreWatches:
            self.close()
            self._watch = None
            return {directory.path: directory for directory in self._walk()}
        except BaseException:
            self.close()
            raise

    def _walk(self) -> Iterator[_Directory]:
        """Yield every directory of the tree, watched before it is listed."""
        quota, domain = (os.path.join(self._base, name) for name in (layout.QUOTA, layout.DOMAIN))
        if not os.path.isdir(quota) and not os.path.isdir(domain):
            yield from self._quota_directory(_Directory(self._base, only=self._letters))
            return
        yield self._recorded_state(_Directory(self._base, only=_TOP))
        if os.path.isdir(quota):
            yield from self._quota_directory(_Directory(quota, only=self._letters))
        if os.path.isdir(domain) and self._virtdomains is not False:
            top = self._recorded_state(_Directory(domain, only=self._letters))
            yield top
            for letter in sorted(top.held & self._letters):
                within = self._recorded_state(_Directory(os.path.join(domain, letter)))
                yield within
                for name in sorted(within.held):
                    if layout.counts(name):
                        yield from self._domain(os.path.join(within.path, name), name)

    def _domain(self, path: bytes, name: bytes) -> Iterator[_Directory]:
        yield self._recorded_state(_Directory(path, only=_INNER))
        inner = os.path.join(path, layout.QUOTA)
        if os.path.isdir(inner):
            yield from self._quota_directory(_Directory(inner, name, None, True, self._letters))

    def _quota_directory(self, top: _Directory) -> Iterator[_Directory]:
        yield self._recorded_state(top)
        for letter in sorted(top.held & self._letters):
            path = os.path.join(top.path, letter)
            yield self._recorded_state(_Directory(path, top.domain, letter))

    def _recorded_state(self, directory: _Directory) -> _Directory:
        if self._watch is not None:
            self._watch.add(directory)
        directory.time = time_of(directory.path)
        if directory.letter is None:
            directory.held = frozenset(_subdirectories(directory))
        elif self._watch is None:
            directory.held = frozenset(hash(entry.name) for entry in _files(directory.path))
        return directory

    # What changed

    def _changed(self) -> Iterator[tuple[_Directory, Optional[bytes]]]:
        """Yield files to read, with None for removed ones whose names are not known."""
        if self._watch is not None:
            yield from self._watch.changed()
            return
        for directory in self._directories.values():
            then, now = directory.time, time_of(directory.path)
            if now == then:
                continue
            if now == -1:
                raise NeedsRescan("a directory is gone")
            # What changes within the tick of the clock that now is may not renew it.
            directory.time = min(now, time.time_ns() - _GRANULARITY_NS)
            if directory.letter is None:
                self._must_be_the_same(directory)
                if directory.has_root:
                    yield directory, layout.ROOT
            else:
                yield from _new_files(directory, then - _GRANULARITY_NS)

    def _must_be_the_same(self, directory: _Directory) -> None:
        if frozenset(_subdirectories(directory)) != directory.held:
            raise NeedsRescan("directories came or went")

    def _key(self, directory: _Directory, name: bytes) -> Optional[bytes]:
        """Return the key whose file `name` is, or None where Cyrus does not look for one."""
        prefix = b"" if directory.domain is None else directory.domain + b"!"
        if directory.letter is None:
            return prefix
        is_stranded = not prefix and self._virtdomains and b"!" in name
        right = layout.letter(layout.hashed(name), full=directory.letter in layout.FULL)
        return None if is_stranded or right != directory.letter else prefix + name


def _new_files(directory: _Directory, since: int) -> Iterator[tuple[_Directory, Optional[bytes]]]:
    held = set()
    for entry in _files(directory.path):
        held.add(hash(entry.name))
        try:
            changed = entry.stat().st_ctime_ns
        except OSError:
            changed = since
        if changed >= since:
            yield directory, entry.name
    gone = directory.held - held
    directory.held = frozenset(held)
    if gone:
        yield directory, None


def _files(path: bytes) -> Iterator[os.DirEntry[bytes]]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if layout.counts(entry.name):
                    yield entry
    except OSError as error:
        raise NeedsRescan(f"a directory cannot be read ({error.strerror})") from error


def _subdirectories(directory: _Directory) -> Iterator[bytes]:
    try:
        with os.scandir(directory.path) as entries:
            for entry in entries:
                if directory.leads_to(entry.name) and entry.is_dir():
                    yield entry.name
    except OSError as error:
        raise NeedsRescan(f"a directory cannot be read ({error.strerror})") from error


def _content(path: bytes) -> tuple[Optional[bytes], bool]:
    """Return the value in a file, None for none, and whether that is all there is to say."""
    name = os.fsdecode(path)
    try:
        with opened(name) as file:
            check_presence(file.fileno(), os.fstat(file.fileno()).st_size, name)
            raw = file.read()
    except (OSError, DamagedDatabase):
        # Also where it is gone: how many there are, and whether any can be read, is not known here.
        return None, False
    if not raw or not raw.endswith(layout.LINE_BREAK):
        return None, not raw
    return layout.value(raw), True


class _NoMoreWatches(Exception):
    """The kernel allows no more watches."""


class _Watch:
    """What the kernel says of directories."""

    _LOST = Mask.Q_OVERFLOW | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT

    def __init__(self, queue: Inotify) -> None:
        self._queue = queue
        self._directories: dict[int, _Directory] = {}

    def close(self) -> None:
        self._queue.close()

    def add(self, directory: _Directory) -> None:
        """Watch a directory. Raises `_NoMoreWatches` or `NeedsRescan`."""
        mask = Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF
        mask |= Mask.CREATE if directory.letter is None else Mask.CLOSE_WRITE
        try:
            watch = self._queue.add(directory.path, mask | Mask.ONLYDIR)
        except OSError as error:
            if inotify.is_exhausted(error):
                raise _NoMoreWatches from error
            raise NeedsRescan(f"a directory cannot be watched ({error.strerror})") from error
        self._directories[watch] = directory

    def changed(self) -> Iterator[tuple[_Directory, Optional[bytes]]]:
        """Yield files that were renamed, written or removed, each once."""
        found: dict[tuple[int, bytes], None] = {}
        for event in self._queue.events():
            directory = self._directories.get(event.watch)
            if event.mask & self._LOST:
                raise NeedsRescan("directories came or went, or too much at once")
            if directory is None:
                continue
            if event.mask & Mask.ISDIR and directory.leads_to(event.name):
                raise NeedsRescan("directories came or went")
            found[event.watch, event.name] = None
        for watch, name in found:
            directory = self._directories[watch]
            if directory.letter is not None:
                if layout.counts(name):
                    yield directory, name
            elif directory.has_root and name == layout.ROOT:
                yield directory, name
