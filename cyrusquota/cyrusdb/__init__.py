"""Cyrus's key/value files on disk: open one, guess its backend, iterate over its records.

    with cyrusquota.cyrusdb.open("/var/lib/cyrus/quotas.db") as db:
        for key, value in db:
            ...

Bytes in, bytes out: what the keys and values mean is not known here. No file is opened for
writing, locked or mapped, so Cyrus never waits for a reader and no reader can harm it. A backend is
a module or a folder with a class like `Database`, and a line in `_BACKENDS`; only the one that is
needed is imported.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import AbstractSet, Callable, Optional, Sequence, cast

from cyrusquota.cyrusdb.database import SQLITE_MAGIC, Database, Snapshot, opened
from cyrusquota.cyrusdb.selection import Fold, Predicate, Selected, Work, columns, selected
from cyrusquota.cyrusdb.skiplist.layout import MAGIC as SKIPLIST_MAGIC
from cyrusquota.cyrusdb.twom.layout import MAGIC as TWOM_MAGIC
from cyrusquota.cyrusdb.twoskip.layout import MAGIC as TWOSKIP_MAGIC
from cyrusquota.errors import (
    AnyPath,
    NoSuchSource,
    OnProblem,
    OptionError,
    UnsupportedBackend,
    printable,
    raise_problem,
    source_error,
)

__all__ = [
    "BACKENDS",
    "CYRUS_BACKENDS",
    "Database",
    "Fold",
    "Predicate",
    "Selected",
    "Snapshot",
    "Work",
    "check_backend",
    "columns",
    "guess",
    "lookup",
    "open",
    "scanned",
    "select",
]

#: Module and class.
_BACKENDS = {
    "flat": ("flat", "Flat"),
    "quotalegacy": ("quotalegacy.reader", "QuotaTree"),
    "skiplist": ("skiplist.reader", "Skiplist"),
    "sql": ("sql", "Sql"),
    "twom": ("twom.reader", "Twom"),
    "twoskip": ("twoskip.reader", "Twoskip"),
}
#: Where there is a faster way to few of very many records.
_SCANS = {
    "flat": "flat",
    "quotalegacy": "quotalegacy.scan",
    "skiplist": "skiplist.scan",
    "twom": "twom.scan",
    "twoskip": "twoskip.scan",
}
#: Where single keys can be looked up.
_LOOKUPS = {
    "skiplist": "skiplist.lookup",
    "twom": "twom.lookup",
    "twoskip": "twoskip.lookup",
}
#: The names of the backends that can be read.
BACKENDS = tuple(_BACKENDS)

#: Offset, bytes and the backend they give away.
_MAGIC = (
    (0, SKIPLIST_MAGIC, "skiplist"),
    (0, TWOSKIP_MAGIC, "twoskip"),
    (0, TWOM_MAGIC, "twom"),
    (0, SQLITE_MAGIC, "sql"),
    (16, b"\xde\xc0\xef\xbe", "lmdb"),
    (12, b"\x00\x05\x31\x62", "berkeley"),
    (12, b"\x62\x31\x05\x00", "berkeley"),
    (12, b"\x00\x06\x15\x61", "berkeley-hash"),
    (12, b"\x61\x15\x06\x00", "berkeley-hash"),
)
_ENOUGH = 32
#: What a zeroskip database, which is a directory, has in it.
_ZEROSKIP = ".zsdb"


def open(  # noqa: A001 - the name that callers know from dbm and gzip
    path: AnyPath, backend: Optional[str] = None, *, on_problem: OnProblem = raise_problem
) -> Database:
    """Open the database at `path`: a file, or the directory of a quotalegacy tree.

    Without `backend`, or where the file says otherwise, the first bytes of the file decide, as
    they do in Cyrus since 3.0. Raises `NoSuchSource`, `SourceForbidden`, `SourceError`,
    `UnsupportedBackend`, `OptionError` (no such backend name), and `DamagedDatabase` where the
    database as a whole is unusable; single records that cannot be proved right go to `on_problem`
    as `DamagedDatabase` and are left out.
    """
    if backend is not None:
        check_backend(backend)
    known = guess(path) or backend
    if known is None:
        # Flat files have no magic bytes, and an empty file is an empty database in any backend.
        known = "flat"
    if known not in _BACKENDS:
        raise _unsupported(path, known)
    module, name = _BACKENDS[known]
    reader = cast("type[Database]", getattr(_imported(module), name))
    return reader(path, on_problem)


def check_backend(name: str) -> None:
    """Raise `OptionError` where no version of Cyrus has a backend of this name."""
    if name not in CYRUS_BACKENDS:
        names = ", ".join(BACKENDS)
        raise OptionError(f"{printable(name)}: no such backend; this version reads {names}")


def _imported(module: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{module}")


def select(
    path: AnyPath,
    work: Work,
    backend: Optional[str] = None,
    *,
    on_problem: OnProblem = raise_problem,
) -> Selected:
    """Return what `work` wants or makes of the live records at `path`, and how many there are.

    The same as of all that `open` gives, and raises the same; faster where there are many.
    """
    found = scanned(path, work, backend)
    if found is not None:
        return found
    with open(path, backend, on_problem=on_problem) as db:
        return selected(db, work)


def scanned(path: AnyPath, work: Work, backend: Optional[str] = None) -> Optional[Selected]:
    """Return what `select` returns where there is a fast path to it, or None.

    Raises what `guess` and `check_backend` raise.
    """
    if backend is not None:
        check_backend(backend)
    module = _SCANS.get(guess(path) or backend or "flat")
    if module is None:
        return None
    fast: Callable[[AnyPath, Work], Optional[Selected]] = _imported(module).select
    return fast(path, work)


def lookup(
    path: AnyPath,
    keys: AbstractSet[bytes],
    backend: Optional[str] = None,
    *,
    on_problem: OnProblem = raise_problem,
) -> dict[bytes, Optional[bytes]]:
    """Return the value of each of `keys` in the database at `path`, None where there is none.

    Where the format allows, only the records on the way to the keys are read, each proved right, so
    damage elsewhere does not show. Where one cannot be proved, or Cyrus keeps writing, everything
    is read as in `select`. Raises what `select` raises then.
    """
    known = guess(path) or backend or "flat"
    if known == "quotalegacy":
        from cyrusquota.cyrusdb.quotalegacy import lookup as quotalegacy

        return quotalegacy.lookup(path, keys, on_problem)
    module = _LOOKUPS.get(known)
    if module is not None:
        fast: Callable[..., Optional[dict[bytes, Optional[bytes]]]] = _imported(module).lookup
        found = fast(path, keys)
        if found is not None:
            return found

    def predicate(some: Sequence[bytes], values: object) -> list[int]:
        return [index for index, key in enumerate(some) if key in keys]

    kept = select(path, predicate, backend, on_problem=on_problem).kept
    return {**dict.fromkeys(keys), **dict(kept)}


def guess(path: AnyPath) -> Optional[str]:
    """Return the backend that the file or directory at `path` shows, or None without magic bytes.

    Flat files have none, nor has an empty file, which is an empty database in any backend. Raises
    `NoSuchSource`, `SourceForbidden` or `SourceError`.
    """
    if os.path.isdir(path):
        return "zeroskip" if os.path.exists(os.path.join(path, _ZEROSKIP)) else "quotalegacy"
    try:
        with opened(path) as file:
            start = file.read(_ENOUGH)
    except ValueError:
        raise NoSuchSource(
            f"{printable(str(path))}: no file has a NUL byte in its name; correct it"
        ) from None
    except OSError as error:
        raise source_error(error, path) from error
    for offset, magic, backend in _MAGIC:
        if start[offset : offset + len(magic)] == magic:
            return backend
    return None


def _unsupported(path: AnyPath, backend: str) -> UnsupportedBackend:
    import shlex

    where = printable(os.path.abspath(path))
    if backend.startswith("berkeley"):
        return UnsupportedBackend(
            f"{where}: a {backend} database, which only its own tools can read;"
            f" dump it with: db_dump -p {shlex.quote(where)} | cyrusquota-export --dump - ..."
            " (with `-h DIR` before -p, where DIR is db/ below the configdirectory, while pages may"
            " still be in the log there)"
        )
    return UnsupportedBackend(
        f"{where}: data in the format {backend}, and this version reads {', '.join(BACKENDS)};"
        f" dump it with: cyr_dbtool {where} {backend} show | cyrusquota-export --dump - ..."
    )


#: Every backend name that some version of Cyrus takes.
CYRUS_BACKENDS = frozenset(
    (
        *("berkeley", "berkeley-nosync", "berkeley-hash", "berkeley-hash-nosync"),
        *("flat", "lmdb", "quotalegacy", "skiplist", "sql", "twom", "twoskip", "zeroskip"),
    )
)
