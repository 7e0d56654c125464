"""Put a map in place: whole or not at all, readable by Exim, and never touched in vain."""

from __future__ import annotations

import contextlib
import enum
import os
import re
from pathlib import Path
from typing import Callable, Iterator, NoReturn, Optional, Union

import attrs

from cyrusquota.errors import (
    AnyPath,
    CannotCreateMap,
    MapError,
    MapForbidden,
    OptionError,
    printable,
)

#: The next one means "leave it as it is" to chown.
_LARGEST_ID = (1 << 32) - 2


class Outcome(enum.Enum):
    """What became of the map in place."""

    WRITTEN = "written"
    REFRESHED = "refreshed"


@attrs.frozen
class Ownership:
    """Who may read a map: its permission bits, owner and group (None: whoever writes it)."""

    mode: int = 0o644
    owner: Optional[Union[int, str]] = None
    group: Optional[Union[int, str]] = None


def publish(
    path: AnyPath,
    content: bytes,
    ownership: Ownership = Ownership(),
    *,
    body: Callable[[bytes], bytes] = bytes,
) -> Outcome:
    """Make `content` the file at `path`, by renaming a finished and synced file over it.

    Where the map in place says the same already (`body` gives what counts of it) and has the
    right mode, only its modification time is renewed. Raises `MapError` or one of its kinds, or
    `OptionError` for an unknown owner; the map in place is untouched then and nothing is left
    behind.
    """
    target = Path(path)
    with _explained(target):
        if _is_current(target, content, ownership, body):
            os.utime(target)
            return Outcome.REFRESHED
        _replace(target, content, ownership)
        return Outcome.WRITTEN


def in_place(path: AnyPath) -> Optional[bytes]:
    """The map at `path`, or None where there is none."""
    target = Path(path)
    with _explained(target):
        if target.is_dir():
            raise IsADirectoryError
        try:
            return target.read_bytes()
        except FileNotFoundError:
            return None


def _is_current(
    target: Path, content: bytes, ownership: Ownership, body: Callable[[bytes], bytes]
) -> bool:
    old = in_place(target)
    if old is None or target.is_symlink() or body(old) != body(content):
        return False
    status = target.stat()
    uid, gid = _ids(ownership)
    return (
        status.st_mode & 0o7777 == ownership.mode
        and uid in (-1, status.st_uid)
        and gid in (-1, status.st_gid)
    )


def _replace(target: Path, content: bytes, ownership: Ownership) -> None:
    import tempfile

    uid, gid = _ids(ownership)
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=".new", dir=target.parent
    )
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if (uid, gid) != (-1, -1):
                os.fchown(descriptor, uid, gid)
            # After fchown, which may clear bits.
            os.fchmod(descriptor, ownership.mode)
            os.fsync(descriptor)
        os.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _ids(ownership: Ownership) -> tuple[int, int]:
    """User and group id, -1 for whichever is to stay as it is."""
    import grp
    import pwd

    uid = gid = -1
    try:
        if ownership.owner is not None:
            number = _number(ownership.owner)
            uid = pwd.getpwnam(str(ownership.owner)).pw_uid if number is None else number
        if ownership.group is not None:
            number = _number(ownership.group)
            gid = grp.getgrnam(str(ownership.group)).gr_gid if number is None else number
    except KeyError as error:
        raise OptionError(f"{error.args[0]}; give a name or number this host knows") from None
    return uid, gid


def _number(given: Union[int, str]) -> Optional[int]:
    """A user or group id, or None for a name."""
    if not re.fullmatch(r"[0-9]+", str(given), re.ASCII):
        return None
    if int(given) > _LARGEST_ID:
        raise OptionError(f"{given}: no such user or group; ids end at {_LARGEST_ID}")
    return int(given)


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _fail(error, target)


def _fail(error: OSError, target: Path) -> NoReturn:
    where, directory = printable(str(target)), printable(str(target.parent))
    reason = error.strerror or str(error)
    if isinstance(error, PermissionError):
        raise MapForbidden(
            f"{where}: permission denied; the map's directory {directory} must be writable,"
            " and only root may give files away"
        ) from error
    if isinstance(error, IsADirectoryError):
        raise CannotCreateMap(
            f"{where}: is a directory; remove it, or name another file"
        ) from error
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise CannotCreateMap(
            f"{where}: the directory {directory} does not exist; make it first, readable by Exim"
        ) from error
    raise MapError(
        f"{where}: cannot be written: {reason}; the map in place is as it was"
    ) from error
