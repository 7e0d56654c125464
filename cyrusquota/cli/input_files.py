"""Refuse files that are not what their option is for, before anything is read from them.

A format without magic bytes takes any file for its own, and would report each line of it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cyrusquota import cyrusdb
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.errors import AnyPath, DataError, NoSuchSource, Place, SourceError, printable
from cyrusquota.site.databases import check_readable, exists

if TYPE_CHECKING:
    from cyrusquota.site.site import Site
    from cyrusquota.site.source import Source

#: A flat database has a TAB in its first line, which is shorter than this.
_HEAD = 1 << 16
#: No text has a NUL byte among so many at its beginning.
_BINARY = 512


def check_database_file(path: str) -> None:
    """Raise `DataError` where the file at `path` is in no format of a Cyrus database."""
    _check(path, "a database of Cyrus", "name the quota database", json=False)


def check_mailboxes_file(path: str) -> None:
    """Raise where the file at `path` is neither a mailboxes.db nor a dump of one.

    That is `DataError`, and `NoSuchSource` for a directory.
    """
    if os.path.isdir(path):
        raise NoSuchSource(f"{printable(path)}: a directory; name the mailboxes.db that is in it")
    advice = "name mailboxes.db, or the output of `ctl_mboxlist -d`"
    _check(path, "a list of mailboxes", advice, json=True)


def _check(path: str, expected: str, advice: str, *, json: bool) -> None:
    # What cannot be opened, or opening would wait for, is reported when it is read.
    with contextlib.suppress(SourceError, OSError, ValueError):
        if not os.path.isfile(path) or cyrusdb.guess(path) is not None:
            return
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
        is_text = b"\0" not in head[:_BINARY]
        if not head or (is_text and (b"\t" in head or (json and head.lstrip()[:1] == b"{"))):
            return
        from cyrusquota.parse.text_stream import kind_of

        kind = kind_of(head)
        advice = advice if kind is None or json else f"this is {kind}"
        raise DataError(expected, place=Place(path), found=head.partition(b"\n")[0], advice=advice)


def check_started(conf: ImapdConf, source: Source, site: Site) -> None:
    """Raise `NoSuchSource` where Cyrus has never been started: it has made no database yet.

    Raises `UnsupportedBackend` where the quotas are in no file, and `SourceForbidden` where it may
    not look.
    """
    check_readable(conf, "quota_db", conf.quota_path)
    path = str(site.path)
    # A name with a NUL byte has an error of its own.
    is_missing = "\0" not in path and not os.path.islink(path) and not exists(path)
    if is_missing and not (source.path is not None and _has_files(source.path)):
        raise NoSuchSource(
            f"{printable(path)}: no such file; Cyrus has never been started here: start it, or"
            " mount the file system that its databases are on"
        )


def _has_files(path: AnyPath) -> bool:
    """Return whether a database is at `path`; an installation leaves the directories of a tree."""
    trees = (os.path.join(path, name) for name in ("quota", "domain"))
    return os.path.isfile(path) or any(files for tree in trees for *_, files in os.walk(tree))
