"""Look up users and groups, and read files with the rights of another user than root."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import Iterator, Optional, Union

from cyrusquota.errors import OptionError, printable

#: One less than the id that chown(2) takes for "leave as it is".
_MAX_ID = (1 << 32) - 2
_MAX_DIGITS = 20
#: The database of each, for getent(1).
_DATABASES = {"user": "passwd", "group": "group"}


def user_id(user: Union[int, str]) -> int:
    """Return the id of a user, by name or number. Raises `OptionError` for an unknown name."""
    number = _number(user)
    if number is not None:
        return number
    try:
        return pwd.getpwnam(str(user)).pw_uid
    except (KeyError, ValueError):
        raise _unknown("user", user) from None


def group_id(group: Union[int, str]) -> int:
    """Return the id of a group, by name or number. Raises `OptionError` for an unknown name."""
    number = _number(group)
    if number is not None:
        return number
    try:
        return grp.getgrnam(str(group)).gr_gid
    except (KeyError, ValueError):
        raise _unknown("group", group) from None


@contextlib.contextmanager
def reading_as(user: Optional[str]) -> Iterator[None]:
    """Open files with the rights of `user` in this context; None changes nothing.

    The owner of the data may put a link in the place of a file; it then leads only to what they
    could read themselves. Raises `OptionError` for an unknown user, and for another user where
    this process is not root's.
    """
    if user is None or (uid := user_id(user)) == os.geteuid():
        yield
        return
    if os.geteuid() != 0:
        raise OptionError(
            f"--user {printable(user)}: only root can read as another user; run as root, or leave"
            " --user out"
        )
    name, gid = _account(user, uid)
    groups, own_gid = os.getgroups(), os.getegid()
    try:
        # The user id last, and first on the way back: only root may change the others.
        os.initgroups(name, gid)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_gid)
        os.setgroups(groups)


def _account(user: str, uid: int) -> tuple[str, int]:
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        raise _unknown("user", user) from None
    return account.pw_name, account.pw_gid


def _number(given: Union[int, str]) -> Optional[int]:
    text = str(given)
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > _MAX_DIGITS or int(text) > _MAX_ID:
        raise OptionError(f"{text[:_MAX_DIGITS]} is no user or group id; give one up to {_MAX_ID}")
    return int(text)


def _unknown(what: str, given: Union[int, str]) -> OptionError:
    return OptionError(
        f"{what} {printable(str(given))!r} is not known on this host; give one that `getent"
        f" {_DATABASES[what]}` lists"
    )
