"""Replace the map atomically, and only when it changed.

This works for any file that other programs look things up in:

    from cyrusquota import publish

    publish.publish("/var/lib/example/map", content)

or, where making the content takes a while and two runs must not overtake each other:

    with publish.claim("/var/lib/example/map", wait=10) as claim:
        outcome = claim.put(make_content(claim.in_place()))

With `guard`, a map that differs too much from the one in place is held back; here, one key a line:

    guard = Guard(lambda content: MapSummary(keys=set(content.splitlines())))
    publish.publish("/var/lib/example/map", content, guard=guard)

A run that is killed, at any moment, leaves the old map or the new one. It may leave the files
`.NAME.new` and `.NAME.lock` beside it, which the next run removes.
"""

from __future__ import annotations

import contextlib
import enum
import os
from typing import Callable, Iterator, Optional, Union

import attrs

from cyrusquota.errors import AnyPath, CannotCreateMap, HeldBack, map_os_errors, printable
from cyrusquota.publish import target_directory
from cyrusquota.publish.guard import Rejection
from cyrusquota.publish.lock import locked
from cyrusquota.publish.privileges import group_id, user_id
from cyrusquota.publish.target_directory import Directory, InPlace, close_quietly


class PublishResult(enum.Enum):
    """Whether the map was written, or already said the same and only got a new time."""

    WRITTEN = "written"
    REFRESHED = "refreshed"


@attrs.frozen
class Ownership:
    """Permission bits, owner and group of a map (None: those of the writing process)."""

    mode: int = 0o644
    owner: Optional[Union[int, str]] = None
    group: Optional[Union[int, str]] = None


def _anything(old: bytes) -> bool:
    return True


def unguarded(old: bytes, new: bytes) -> Optional[Rejection]:
    """Hold nothing back."""
    return None


@attrs.define
class Claim:
    """The right to put a map in place while no other run does.

    `known` is the map that this process put there last, if it did.
    """

    _directory: Directory
    known: Optional[InPlace] = None

    def in_place(self) -> Optional[bytes]:
        """Return the map in place, or None. Raises `MapError`."""
        with map_os_errors(self._directory.path):
            old = self._directory.in_place(self.known)
        return None if old is None else old.content

    def put(
        self,
        content: bytes,
        ownership: Ownership = Ownership(),
        *,
        body: Callable[[bytes], object] = bytes,
        is_ours: Callable[[bytes], bool] = _anything,
        guard: Callable[[bytes, bytes], Optional[Rejection]] = unguarded,
    ) -> PublishResult:
        """Make `content` the map, by renaming a finished and synced file over the one in place.

        Where the map in place has the same `body`, owner, group and mode, only its modification
        time is renewed. `is_ours` says whether the file in place may be replaced at all, `guard`
        (see `cyrusquota.publish.guard`) whether by `content`. Raises `MapError` or a subclass, or
        `OptionError` for an unknown owner; the existing map is then unchanged, also in its time.
        """
        ids = _ids(ownership)
        with map_os_errors(self._directory.path):
            old = self._directory.in_place(self.known)
            # An empty file has nothing to lose.
            if old is not None and old.content:
                self._must_be_replaceable(old.content, content, is_ours, guard)
            self._directory.must_be_there()
            if old is not None and _is_current(old, content, ownership.mode, ids, body):
                self._directory.renew()
                return PublishResult.REFRESHED
            label = None if old is None else old.label
            status = _replace(self._directory, content, ownership.mode, ids, label)
            self.known = InPlace(content, status, label)
            return PublishResult.WRITTEN

    def _must_be_replaceable(
        self,
        old: bytes,
        new: bytes,
        is_ours: Callable[[bytes], bool],
        guard: Callable[[bytes, bytes], Optional[Rejection]],
    ) -> None:
        where = printable(str(self._directory.path))
        if not is_ours(old):
            raise CannotCreateMap(
                f"{where}: was not written by this program; move it away, or name another file"
            )
        held = guard(old, new)
        if held is not None:
            raise HeldBack(f"{where}: held back: {held.reason}", held.advice, held.ceiling)


@contextlib.contextmanager
def claim(
    path: AnyPath,
    *,
    wait: float = 0.0,
    follow_links: bool = False,
    known: Optional[InPlace] = None,
) -> Iterator[Claim]:
    """Keep every other run from writing the map at `path`; remove what a killed run left.

    `known` is that of the last claim of this process; the map is not read again while it is there.

    Raises `MapLocked` if another run holds the lock for more than `wait` seconds, and another
    `MapError` where no map can be written. If `path` is a symbolic link, the map is the file it
    leads to with `follow_links`; otherwise `put` refuses to replace the link.
    """
    with target_directory.opened(path, follow_links=follow_links) as held, locked(held, wait):
        with map_os_errors(held.path.with_name(_temporary(held))):
            held.discard(_temporary(held))
        yield Claim(held, known)


def publish(
    path: AnyPath,
    content: bytes,
    ownership: Ownership = Ownership(),
    *,
    body: Callable[[bytes], object] = bytes,
    is_ours: Callable[[bytes], bool] = _anything,
    guard: Callable[[bytes, bytes], Optional[Rejection]] = unguarded,
    follow_links: bool = False,
    wait: float = 0.0,
) -> PublishResult:
    """Make `content` the file at `path`. Raises what `claim` and `Claim.put` raise."""
    with claim(path, wait=wait, follow_links=follow_links) as claimed:
        return claimed.put(content, ownership, body=body, is_ours=is_ours, guard=guard)


def in_place(path: AnyPath, *, follow_links: bool = False) -> Optional[bytes]:
    """Return the map at `path`, or None where there is none. Raises `MapError`."""
    with target_directory.opened(path, follow_links=follow_links) as held:
        return Claim(held).in_place()


def _is_current(
    old: InPlace, content: bytes, mode: int, ids: tuple[int, int], body: Callable[[bytes], object]
) -> bool:
    status, (uid, gid) = old.status, ids
    return (
        body(old.content) == body(content)
        and status.st_mode & 0o7777 == mode
        # The owner of a map can change it, so the owner must be the right one.
        and status.st_uid == (os.geteuid() if uid == -1 else uid)
        and gid in (-1, status.st_gid)
        and status.st_nlink == 1
    )


def _replace(
    held: Directory, content: bytes, mode: int, ids: tuple[int, int], label: Optional[bytes]
) -> os.stat_result:
    """Replace the map, and return the status of the new one."""
    temporary = _temporary(held)
    fd = held.create(temporary)
    try:
        try:
            _write(fd, content)
            if ids != (-1, -1):
                os.fchown(fd, *ids)
            # After fchown, which may clear bits.
            os.fchmod(fd, mode)
            target_directory.set_label(fd, label)
            os.fsync(fd)
            status = os.fstat(fd)
        finally:
            close_quietly(fd)
        held.rename(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            held.discard(temporary)
        raise
    # The new map is in place, so this run has succeeded. A power cut now leaves the old map or the
    # new one, and some file systems cannot sync a directory at all.
    with contextlib.suppress(OSError):
        os.fsync(held.fd)
    return status


def _write(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _temporary(held: Directory) -> str:
    return f".{held.name}.new"


def _ids(ownership: Ownership) -> tuple[int, int]:
    """Return user and group id, -1 where it is to stay as it is."""
    uid = -1 if ownership.owner is None else user_id(ownership.owner)
    gid = -1 if ownership.group is None else group_id(ownership.group)
    return uid, gid
