"""Whether another user may read a file, and which directory on the way to it is closed to him.

Root finds out by trying with that user's rights, which sees access lists too; anybody else goes by
the permission bits.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Callable, Optional

from cyrusquota.publish.privileges import reading_as


def closed_to(user: str, path: str) -> Optional[Path]:
    """The first thing on the way to the file at `path` that `user` may not pass, None if none.

    The way to the name is gone as well as the way to what it links to. Raises `KeyError` for an
    unknown user.
    """
    account = pwd.getpwnam(user)
    if os.geteuid() == 0:
        with reading_as(user):
            return _first(path, _tried)
    groups = set(os.getgrouplist(user, account.pw_gid))
    return _first(path, lambda one, right: _permitted(one, right, account.pw_uid, groups))


def _first(path: str, may: Callable[[Path, int], bool]) -> Optional[Path]:
    for way in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        for directory in reversed(Path(way).parents):
            if not may(directory, os.X_OK):
                return directory
    target = Path(os.path.realpath(path))
    return None if may(target, os.R_OK) else target


def _tried(path: Path, right: int) -> bool:
    return os.access(path, right, effective_ids=True)


def _permitted(path: Path, right: int, uid: int, groups: set[int]) -> bool:
    try:
        status = path.stat()
    except OSError:
        # Not for us to see; the first thing that closes the way was met before.
        return True
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
    return uid == 0 or bool(status.st_mode >> shift & right)


def described(path: Path) -> str:
    """The mode, owner and group of `path` for a message."""
    status = path.stat()
    return (
        f"mode {stat.S_IMODE(status.st_mode):04o}, owner {_user(status.st_uid)},"
        f" group {_group(status.st_gid)}"
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
