"""Where an imapd.conf puts a database, and whether it is of a kind that can be read.

With the backend `sql`, Cyrus takes a table of `sql_database` instead of the file, or for PostgreSQL
and MySQL one on a server (lib/cyrusdb_sql.c). Such data has to be dumped by Cyrus's own tools, as
that of the backends that no reader is here for.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import Optional

from cyrusquota import cyrusdb
from cyrusquota.cyrus import dlist
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrusdb.database import TablePath
from cyrusquota.errors import (
    AnyPath,
    ConfigError,
    DataError,
    Place,
    UnsupportedBackend,
    printable,
    quote,
    source_error,
)

#: What takes the place of a database that cannot be read, by the option that names its backend.
_INSTEAD = {
    "quota_db": "dump it with: cyr_dbtool {path} {backend} show | cyrusquota-export --dump - ...",
    "mboxlist_db": "list it with: ctl_mboxlist -d >FILE, and name that with --mailboxes FILE",
    "conversations_db": "convert it with cvt_cyrusdb, and change the option",
}


def exists(path: AnyPath) -> bool:
    """Return whether there is a file at `path`; raise `SourceForbidden` where it cannot be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        # A name with NUL is no path.
        return False
    except OSError as error:
        raise source_error(error, path) from error
    return True


def database_path(conf: ImapdConf, option: str, file: AnyPath) -> AnyPath:
    """Return where the database is whose backend `option` names, and which as a file is `file`.

    Raises `ConfigError` for a backend that no version of Cyrus has.
    """
    backend, database = conf.get(option), conf.get("sql_database")
    if backend is not None and backend not in cyrusdb.CYRUS_BACKENDS:
        names = ", ".join(sorted(cyrusdb.CYRUS_BACKENDS))
        found = quote(backend.encode("utf-8", "surrogateescape"))
        raise ConfigError(
            f"{printable(conf.path)}: option {option}: expected one of {names}, found {found};"
            " correct the file"
        )
    if backend == "sql" and database is not None:
        return TablePath.instead_of(file, database)
    return file


def check_readable(conf: ImapdConf, option: str, file: AnyPath) -> None:
    """Raise `UnsupportedBackend` where there is no reader for the backend that `option` names.

    A file that lies where another backend would have it says nothing.
    """
    backend = conf.get(option) or ""
    server = _server(conf) if backend == "sql" else None
    if server is None and backend in ("", *cyrusdb.BACKENDS):
        return
    path = os.path.abspath(file)
    instead = _INSTEAD[option].format(path=shlex.quote(path), backend=backend)
    if option == "quota_db" and backend.startswith("berkeley"):
        instead += f" (or with db_dump -p -h configdirectory/db {shlex.quote(path)})"
    raise UnsupportedBackend(
        f"{printable(conf.path)}: option {option}: {printable(server or backend)} has the data, and"
        f" this version reads {', '.join(cyrusdb.BACKENDS)}; {printable(instead)}"
    )


#: A name of 3.6 or later, or a reverse ACL; what a mailbox has that a quota root has not.
_MAILBOX_KEY = re.compile(rb"N.*\x1f|A[SU]?\x1e|\$RACL", re.DOTALL)
_MAILBOX_FIELDS = frozenset((b"T", b"I", b"P", b"A"))
#: `TYPE PARTITION ACL` of 2.x.
_MAILBOX_VALUE = re.compile(rb"[0-9]+ [^ \t]+ [^\t]+\t", re.DOTALL)
#: A value of a quota root, of 2.5 and later or of 2.4.
_QUOTA_VALUE = re.compile(rb"%\(S \(|[+-]?[0-9]+ -?[0-9]+\Z")
_NUL = b"\0"
#: The names that databases beside the quotas have in all versions.
_OTHERS = {
    "mailboxes.db": "list of mailboxes, for --mailboxes",
    "annotations.db": "database of annotations",
    "deliver.db": "database of deliveries",
}


def check_quotas(key: bytes, value: bytes, source: str) -> None:
    """Raise `DataError` where a record is not one of quotas but of another database of Cyrus."""
    if _NUL in key:
        found = "the keys are those of annotations or deliveries; name the quota database"
    elif _is_mailbox(key, value):
        found = "this is a list of mailboxes, for --mailboxes; name the quota database"
    else:
        return
    advice = f"{found}, often quotas.db, with --db, or in imapd.conf"
    raise DataError("quota roots", place=Place(source), found=key, advice=advice)


def check_empty(path: AnyPath) -> None:
    """Raise `DataError` where an empty database is called like one that has no quotas."""
    name = os.path.basename(os.fspath(path))
    if name in _OTHERS:
        advice = f"this is Cyrus's {_OTHERS[name]}; name the quota database, often quotas.db"
        raise DataError("quota roots", place=Place(str(path)), advice=advice)


def check_mailboxes(key: bytes, value: bytes, source: str) -> None:
    """Raise `DataError` where a record is one of quotas and not of a mailbox."""
    if _QUOTA_VALUE.match(value):
        advice = "this is a quota database, for --db; name the list of mailboxes with --mailboxes"
        raise DataError("mailboxes", place=Place(source), found=key, advice=advice)


def _is_mailbox(key: bytes, value: bytes) -> bool:
    if _MAILBOX_KEY.match(key) or _MAILBOX_VALUE.match(value):
        return True
    _, pairs = dlist.parse(value)
    return len(_MAILBOX_FIELDS.intersection(name for name, _ in pairs or ())) > 1


def _server(conf: ImapdConf) -> Optional[str]:
    """Return the kind of SQL server that the databases are on, None for SQLite files."""
    engine, database = conf.get("sql_engine"), conf.get("sql_database")
    if engine is None and database is not None and not os.path.isabs(database):
        return "an SQL server"
    return None if engine in (None, "sqlite") else engine
