"""Hold the directory of a map open while the map in it is replaced.

Other users may be able to write there too. So every name is looked up in the directory that was
opened and checked, no link is followed (except the map itself, with --follow-links), a new file
must not exist before, and only plain files are read or replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Iterator, Optional

import attrs

from cyrusquota.errors import AnyPath, CannotCreateMap, MapForbidden, map_os_errors, printable

_LABEL = "security.selinux"
_CHUNK, _MOST = 1 << 20, 1 << 28


@attrs.frozen
class InPlace:
    """A map in place: its content, its status, and its SELinux label if it has one."""

    content: bytes
    status: os.stat_result
    label: Optional[bytes]

    def is_still(self, status: os.stat_result) -> bool:
        """Return whether a file with this status has the same content."""
        # Renaming a file changes its ctime.
        return all(
            getattr(status, name) == getattr(self.status, name)
            for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns")
        )


@attrs.frozen
class Directory:
    """An open directory, and the name of the map in it. `path` is for messages."""

    path: Path
    fd: int

    @property
    def name(self) -> str:
        """The map's own name."""
        return self.path.name

    def status(self, name: str) -> Optional[os.stat_result]:
        """Return the status of `name` itself, no link followed, or None if it is not there."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def in_place(self, known: Optional[InPlace] = None) -> Optional[InPlace]:
        """Return the map in place, or None. Raises `CannotCreateMap` for what is no plain file.

        A file that is still `known` is not read again.
        """
        status = self.status(self.name)
        if status is None:
            return None
        # Before it is opened: opening alone can set off a device.
        _must_be_plain(self.path, status)
        # O_NONBLOCK: it may have become a FIFO by now.
        fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.fd)
        try:
            status = os.fstat(fd)
            _must_be_plain(self.path, status)
            if known is not None and known.is_still(status):
                content = known.content
            else:
                content = _content(fd, status.st_size)
            return InPlace(content, status, label(fd))
        finally:
            close_quietly(fd)

    def create(self, name: str) -> int:
        """Create the file `name`, which no other user can open yet, and return its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=self.fd)

    def rename(self, name: str) -> None:
        """Make the file `name` the map."""
        os.rename(name, self.name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def renew(self) -> None:
        """Set the modification time of the map to now."""
        os.utime(self.name, dir_fd=self.fd, follow_symlinks=False)

    def discard(self, name: str) -> None:
        """Remove the file `name` if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def must_be_there(self) -> None:
        """Raise `CannotCreateMap` if the map's path no longer leads to this directory."""
        if not os.path.samestat(os.stat(self.path.parent), os.fstat(self.fd)):
            directory = printable(str(self.path.parent))
            raise CannotCreateMap(f"{directory}: was replaced during the run; run again")


@contextlib.contextmanager
def opened(path: AnyPath, *, follow_links: bool = False) -> Iterator[Directory]:
    """Open the directory of the map `path`; with `follow_links`, of the file that `path` leads to.

    Raises `MapError` or a subclass: `MapForbidden` for a directory in which any user may remove
    the files of others.
    """
    target = Path(os.path.realpath(path) if follow_links else path)
    with map_os_errors(target):
        # "." and "/" have no name to put a file under.
        if target.name in ("", ".."):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        fd = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with map_os_errors(target):
            _must_be_safe(target.parent, os.fstat(fd))
        yield Directory(target, fd)
    finally:
        close_quietly(fd)


def label(fd: int) -> Optional[bytes]:
    """Return the SELinux label of an open file, or None."""
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(fd, _LABEL)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def set_label(fd: int, wanted: Optional[bytes]) -> None:
    """Give an open file the SELinux label `wanted`; None changes nothing."""
    if wanted is not None and label(fd) != wanted:
        os.setxattr(fd, _LABEL, wanted)


def close_quietly(fd: int) -> None:
    """Close a descriptor and ignore errors, which could lose nothing here."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _content(fd: int, size: int) -> bytes:
    # Mostly the first piece is all there is, and join does not copy a large map again.
    chunks: list[bytes] = []
    wanted = min(max(size, _CHUNK), _MOST)
    while True:
        chunk = os.read(fd, wanted)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        wanted = _CHUNK


def _must_be_plain(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    what, advice = "not a plain file", "name another file"
    if stat.S_ISLNK(status.st_mode):
        what, advice = "a symbolic link", "remove it, or give --follow-links if it is yours"
    elif stat.S_ISDIR(status.st_mode):
        what, advice = "a directory", "remove it, or name another file"
    raise CannotCreateMap(f"{printable(str(path))}: is {what}; {advice}")


def _must_be_safe(directory: Path, status: os.stat_result) -> None:
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        where = printable(str(directory))
        raise MapForbidden(
            f"{where}: any user may replace files in this directory; chmod o-w it, or name a file"
            " in another"
        )
