"""From an imapd.conf, a path or a stream to quota roots.

A `Source` names where quota data is and reads it anew each time it is asked. What cannot be read
as a whole raises; single records that cannot be read go to `on_problem` and are left out.
"""

from __future__ import annotations

from typing import BinaryIO, Callable, Iterable, Iterator, Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import quotalegacy
from cyrusquota.errors import (
    AnyPath,
    ConfigError,
    CyrusQuotaError,
    DataError,
    OnProblem,
    Place,
    printable,
    raise_problem,
    shown,
)
from cyrusquota.imapdconf import ImapdConf
from cyrusquota.mailbox import Naming
from cyrusquota.parse import dump, report, value
from cyrusquota.quota import QuotaRoot


@attrs.frozen
class Source:
    """Quota data that can be read: what to call it, and how its server names users.

    `opened` opens the database that it is in, None for a stream, which can be read but once.
    """

    name: str
    naming: Naming
    _read: Callable[[OnProblem], Iterator[QuotaRoot]]
    opened: Optional[Callable[[OnProblem], cyrusdb.Database]] = None
    #: Where that is, and for a configured quotalegacy tree, whether fulldirhash is on.
    path: Optional[AnyPath] = None
    fulldirhash: Optional[bool] = None

    def roots(self, on_problem: OnProblem = raise_problem) -> Iterator[QuotaRoot]:
        """Every quota root, in the order of the source."""
        return self._read(on_problem)


def read(
    path: AnyPath, backend: Optional[str] = None, *, on_problem: OnProblem = raise_problem
) -> Iterator[QuotaRoot]:
    """Every quota root of the database at `path`, a file or a quotalegacy tree.

    `backend` is Cyrus's name for the format and need not be given. Errors are those of
    `cyrusdb.open`; a record that cannot be read is handed to `on_problem`, as `BadValue` or
    `DamagedDatabase`, which by default raises it.
    """
    return database(path, backend).roots(on_problem)


def database(
    path: AnyPath, backend: Optional[str] = None, naming: Optional[Naming] = None
) -> Source:
    """The database at `path`, whatever imapd.conf says of another."""

    def opened(on_problem: OnProblem) -> cyrusdb.Database:
        return cyrusdb.open(path, backend, on_problem=on_problem)

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        with opened(on_problem) as db:
            yield from _roots(db, str(path), on_problem)

    return Source(printable(str(path)), naming or Naming(), roots, opened, path)


def configured(conf: ImapdConf) -> Source:
    """The quota database that `conf` leads Cyrus to.

    quotalegacy is a tree whatever other files lie about; for the others the magic bytes of the
    file go before the name in the configuration, as in Cyrus.
    """
    backend, naming = conf.quota_backend, conf.naming
    if backend != quotalegacy.QuotaTree.backend:
        if backend not in cyrusdb.CYRUS_BACKENDS:
            names = ", ".join(sorted(cyrusdb.CYRUS_BACKENDS))
            found = shown(backend.encode("utf-8", "surrogateescape"))
            raise ConfigError(
                f"{printable(conf.path)}: option quota_db: expected one of {names}, found {found};"
                " correct the file"
            )
        return database(conf.quota_path, backend, naming)
    base, full = conf.quotalegacy_base, conf.switch("fulldirhash", False)

    def opened(on_problem: OnProblem) -> cyrusdb.Database:
        return quotalegacy.QuotaTree(
            base, on_problem, fulldirhash=full, virtdomains=naming.virtdomains
        )

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        with opened(on_problem) as tree:
            yield from _roots(tree, str(base), on_problem)

    return Source(printable(str(base / "quota")), naming, roots, opened, base, full)


def dumped(stream: BinaryIO, name: str = "-", naming: Optional[Naming] = None) -> Source:
    """A dump of a quota database: `cyr_dbtool ... show`, db_dump or a flat file; read once."""

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        records = dump.records(stream, source=name, on_problem=on_problem)
        return _roots(records, name, on_problem)

    return Source(printable(name), naming or Naming(), roots)


def reported(stream: BinaryIO, name: str = "-", naming: Optional[Naming] = None) -> Source:
    """The output of `quota`, text or JSON; read once."""

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        return report.roots(stream, source=name, on_problem=on_problem)

    return Source(printable(name), naming or Naming(), roots)


def roots_in(db: cyrusdb.Database, on_problem: OnProblem) -> Iterator[QuotaRoot]:
    """Every quota root of a database that `Source.opened` gave."""
    return _roots(db, str(db.path), on_problem)


def _roots(
    records: Iterable[tuple[bytes, bytes]], name: str, on_problem: OnProblem
) -> Iterator[QuotaRoot]:
    def named(problem: CyrusQuotaError) -> None:
        on_problem(problem.at(Place(name)) if isinstance(problem, DataError) else problem)

    for key, data in records:
        root = value.quota_root(key, data, on_problem=named)
        if root is not None:
            yield root
