"""Check the map: present, written by cyrusquota, fresh, readable by Exim, protected, up to date.

Whether another user can read a file, root finds out with that user's rights, which covers access
lists too; anybody else goes by the permission bits.
"""

from __future__ import annotations

import grp
import itertools
import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import AbstractSet, Callable, Iterator, Optional

import attrs

from cyrusquota import maps
from cyrusquota.display.sizes import duration
from cyrusquota.doctor.cyrus import Quotas
from cyrusquota.doctor.export_command import ExportCommand
from cyrusquota.doctor.findings import Finding, finding
from cyrusquota.errors import ForeignMap, MapError, MapForbidden, NoSuchMap
from cyrusquota.maps import FORMATS, KeyForm
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, InstalledMap, installed_map
from cyrusquota.mta.exim import Exim
from cyrusquota.publish.guard import Change, Limits, MapSummary, Rejection, check_change
from cyrusquota.publish.privileges import reading_as

#: Seconds by which the clock of a file server may be ahead of this host's.
_AHEAD = 60


def examine(
    path: str,
    max_age: Optional[int],
    exim: Optional[Exim],
    quotas: Optional[Quotas],
    export: ExportCommand,
    now: float,
) -> tuple[list[Finding], Optional[InstalledMap]]:
    """Check the map at `path`; return findings, and the map if it can be read."""
    rights = list(_rights(path, exim, export))
    try:
        table = installed_map(path)
    except NoSuchMap as error:
        return [_missing(path, error, export)], None
    except MapForbidden as error:
        return [_failed("not-seen", error), *rights], None
    except (ForeignMap, MapError) as error:
        return [_failed("map-foreign", error), *rights], None
    found = [*_age(table, max_age, export, now), *rights]
    if quotas is not None:
        found += _contents(table, quotas, export)
    return found, table


def _missing(path: str, error: MapError, export: ExportCommand) -> Finding:
    directory = os.path.dirname(os.path.abspath(path))
    first = () if os.path.isdir(directory) else (f"install -d -m 755 {shlex.quote(directory)}",)
    said = str(error).partition("; ")[0]
    return finding("map-missing", said, *first, export.line())


def _failed(kind: str, error: MapError) -> Finding:
    said, _, do = str(error).partition("; ")
    return finding(kind, said, do=do)


def _age(
    table: InstalledMap, max_age: Optional[int], export: ExportCommand, now: float
) -> Iterator[Finding]:
    old = table.age(now)
    limit = None if table.format == "postfix" else max_age
    late = (DEFAULT_MAX_AGE if limit is None else limit) / 2
    said = f"{table.path}: renewed {duration(old)} ago"
    valid = "valid for ever" if limit is None else f"valid for {duration(limit)}"
    if old < -_AHEAD:
        ahead = f"{table.path}: its time is {duration(-old)} in the future"
        yield finding("map-future", ahead, f"touch {shlex.quote(table.path)}")
    elif limit is not None and old >= limit:
        yield finding("map-old", f"{said}, {valid}", export.line("-v"))
    elif old >= late:
        yield finding("map-late", f"{said}, {valid}", export.line("-v"))
    else:
        roots = table.header.roots
        origin = "" if roots is None else f" from {roots} quota root{'s' * (roots != 1)}"
        count = f"{table.entries} entr{'y' if table.entries == 1 else 'ies'}"
        yield finding("map", f"{said}; {table.format}, {count}{origin}")


def _rights(path: str, exim: Optional[Exim], export: ExportCommand) -> Iterator[Finding]:
    if os.path.islink(path):
        said = f"{path}: is a symbolic link to {os.path.realpath(path)}"
        yield finding("map-link", said, export.line("--follow-links"))
    if exim is not None and os.path.exists(path):
        yield from _is_unreadable_for(path, exim.option("exim_user"))
    real = Path(os.path.realpath(path))
    for one in (real, *real.parents):
        if _is_open(one):
            yield finding(
                "map-open",
                f"{one}: users other than its owner can write it ({described(one)})",
                f"chmod go-w {shlex.quote(str(one))}",
            )


def _is_unreadable_for(path: str, user: str) -> Iterator[Finding]:
    try:
        closed = closed_to(user, path)
    except KeyError:
        yield finding("not-seen", f"this host has no user {user}, which is Exim's exim_user", do="")
        return
    if closed is not None:
        yield finding("map-closed", f"{path}: {closed.said}", closed.command)


def _is_open(path: Path) -> bool:
    """Return whether others can write a file, or replace files in a directory."""
    try:
        status = path.stat()
    except OSError:
        return False
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return False
    # Many systems create files with the group root, which is no other user.
    by_group = bool(status.st_mode & stat.S_IWGRP) and status.st_gid != 0
    return by_group or bool(status.st_mode & stat.S_IWOTH)


def _contents(table: InstalledMap, quotas: Quotas, export: ExportCommand) -> Iterator[Finding]:
    source = table.header.source
    if source != quotas.source:
        yield finding(
            "map-source", f"{table.path}: was written from {source}, not from {quotas.source}"
        )
        return
    old = table.keys
    new = _keys_now(old, table.format, quotas)
    # Who is nearly full, only the export knows, which has --reserve.
    new |= set(itertools.islice(old - new, table.header.near or 0))
    change = Change.between(old, new)
    told = MapSummary(new, quotas.roots, quotas.source)
    verdict = check_change(MapSummary(old, table.header.roots, source), told, Limits())
    if verdict is not None:
        yield _held(table, verdict, export)
    elif change.count and not table.header.near and _same_policy(table, quotas):
        yield finding(
            "map-behind",
            f"{table.path}: an export would add {change.added} and remove {change.removed} of"
            f" {len(old)}",
            export.line("--dry-run"),
        )


def _held(table: InstalledMap, verdict: Rejection, export: ExportCommand) -> Finding:
    said = f"{table.path}: {verdict.reason}"
    look = export.line("--dry-run")
    if verdict.ceiling is None:
        do = "check the quota database; if there are no quotas any more, remove the map"
        return finding("map-held", said, f"rm {shlex.quote(table.path)}", do=do)
    return finding("map-held", said, look, export.line("--accept-change", str(verdict.ceiling)))


def _keys_now(old: AbstractSet[bytes], map_format: str, quotas: Quotas) -> set[bytes]:
    """Return the keys that an export would write now for `old`, in the spelling of the format."""
    is_local = bool(old) and map_format != "postfix" and not any(b"@" in key for key in old)
    form = KeyForm.LOCAL if is_local else KeyForm.AUTO
    values = ((verdict.recipient, b"x") for verdict in quotas.verdicts if verdict.over)
    written = FORMATS[map_format]
    return written.keys(written.document(maps.entries(values, form=form), ()))


def _same_policy(table: InstalledMap, quotas: Quotas) -> bool:
    return table.header.policy == quotas.policy.name


@attrs.frozen
class Closed:
    """A directory that `user` cannot enter, or a file that they cannot read."""

    user: str
    path: Path

    @property
    def said(self) -> str:
        """What they cannot do."""
        does = "enter" if self.path.is_dir() else "read"
        return f"{self.user} cannot {does} {self.path} ({described(self.path)})"

    @property
    def command(self) -> str:
        """The command that lets everybody do it."""
        right = "x" if self.path.is_dir() else "r"
        return f"chmod o+{right} {shlex.quote(str(self.path))}"


def closed_to(user: str, path: str) -> Optional[Closed]:
    """Return the directory that `user` cannot enter, or the file they cannot read, or None.

    Checks the path as given and the path that symbolic links lead to. Raises `KeyError` for an
    unknown user.
    """
    account = pwd.getpwnam(user)
    if os.geteuid() == 0:
        with reading_as(user):
            found = _first(path, _tried)
    else:
        groups = set(os.getgrouplist(user, account.pw_gid))
        found = _first(path, lambda one, right: _permitted(one, right, account.pw_uid, groups))
    return None if found is None else Closed(user, found)


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
        # Not visible to this user; the directory that is closed was reported before.
        return True
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
    return uid == 0 or bool(status.st_mode >> shift & right)


def described(path: Path) -> str:
    """Return mode, owner and group of `path` as text."""
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
