"""The map cannot be written, or is held back."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import ContextManager, Iterator
from unittest import mock

from cyrusquota.errors import CannotCreateMap, HeldBack, MapError, MapForbidden, MapLocked
from tests.error_cases.case import ErrorCase, as_nobody, failing, locked, open_to_all

_FULL = b"user.jane\t2000 1\n"
_EXPORT = "cyrusquota-export --dump - -o map"


@contextlib.contextmanager
def _metrics_held() -> Iterator[None]:
    with locked(".quota.prom.lock"), mock.patch("cyrusquota.cli.metrics._MAX_WAIT", 0):
        yield


def _linked() -> ContextManager[object]:
    os.symlink("elsewhere", "map")
    return contextlib.nullcontext()


def _replaced() -> ContextManager[object]:
    return mock.patch("os.path.samestat", side_effect=[True, False, False])


def _fifo() -> ContextManager[object]:
    os.mkfifo(".map.lock")
    return contextlib.nullcontext()


def _map(*users: str, roots: int = 1) -> bytes:
    begin = f"# Written by cyrusquota-export; x\n# source: standard input\n# roots: {roots}\n"
    return (begin + "".join(f"{user}: :defer: full\n" for user in users)).encode()


CASES = (
    ErrorCase(
        "no directory for the map",
        CannotCreateMap,
        "cyrusquota-export --dump - -o gone/map",
    ),
    ErrorCase(
        "a directory in the place of the map",
        CannotCreateMap,
        _EXPORT,
        files={"map": None},
    ),
    ErrorCase(
        "a symbolic link in the place of the map",
        CannotCreateMap,
        _EXPORT,
        meanwhile=_linked,
    ),
    ErrorCase(
        "a foreign file in the place of the map",
        CannotCreateMap,
        _EXPORT,
        files={"map": b"jane: :defer: mine\n"},
        stdin=_FULL,
    ),
    ErrorCase(
        "a lock that is not a file",
        CannotCreateMap,
        _EXPORT,
        meanwhile=_fifo,
    ),
    ErrorCase(
        "the map's directory is replaced during the run",
        CannotCreateMap,
        _EXPORT,
        stdin=_FULL,
        meanwhile=_replaced,
    ),
    ErrorCase(
        "a read-only file system",
        CannotCreateMap,
        _EXPORT,
        meanwhile=failing("cyrusquota.publish.target_directory.Directory.create", errno.EROFS),
    ),
    ErrorCase(
        "a map path that names a directory",
        CannotCreateMap,
        "cyrusquota-export --dump - -o .",
    ),
    ErrorCase(
        "a map name that is too long",
        CannotCreateMap,
        f"cyrusquota-export --dump - -o {'m' * 300}",
    ),
    ErrorCase(
        "a loop of symbolic links",
        CannotCreateMap,
        "cyrusquota-export --dump - -o loop/map",
        meanwhile=lambda: _loop("loop"),
    ),
    ErrorCase(
        "a full disk",
        MapError,
        _EXPORT,
        stdin=_FULL,
        meanwhile=failing("cyrusquota.publish.atomic.os.write", errno.ENOSPC),
    ),
    ErrorCase(
        "a write error",
        MapError,
        _EXPORT,
        stdin=_FULL,
        meanwhile=failing("cyrusquota.publish.atomic.os.write", errno.EIO),
    ),
    ErrorCase(
        "a cdb above 4 GiB",
        MapError,
        "cyrusquota-export --dump - -o map --map-format cdb",
        stdin=_FULL,
        meanwhile=lambda: mock.patch("cyrusquota.maps.cdb._MAX_SIZE", 1),
    ),
    ErrorCase(
        "no permission to write the map",
        MapForbidden,
        _EXPORT,
        meanwhile=as_nobody,
    ),
    ErrorCase(
        "a directory that everybody may write to",
        MapForbidden,
        _EXPORT,
        meanwhile=open_to_all,
    ),
    ErrorCase(
        "another run holds the map's lock",
        MapLocked,
        _EXPORT,
        meanwhile=lambda: locked(".map.lock"),
    ),
    ErrorCase(
        "another run holds the metrics file's lock",
        MapLocked,
        "cyrusquota metrics --dump - -o quota.prom",
        stdin=_FULL,
        meanwhile=_metrics_held,
    ),
    ErrorCase(
        "too many added entries",
        HeldBack,
        _EXPORT,
        files={"map": _map("bob")},
        stdin=b"user.bob\t2000 1\n" + b"".join(b"user.u%d\t2000 1\n" % n for n in range(21)),
    ),
    ErrorCase(
        "a source without a single root",
        HeldBack,
        _EXPORT,
        files={"map": _map("bob", roots=12)},
    ),
)


def _loop(name: str) -> ContextManager[object]:
    os.symlink(name, name)
    return contextlib.nullcontext()
