"""From an imapd.conf, a path or a stream to quota roots.

A `Source` names where quota data is and reads it anew each time it is asked. What cannot be read
as a whole raises; single records that cannot be read go to `on_problem` and are left out.
"""

from __future__ import annotations

from typing import BinaryIO, Callable, Iterable, Iterator, Optional

import attrs

from cyrusquota import cyrusdb
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
from cyrusquota.parse import value
from cyrusquota.parse.value import Sieve
from cyrusquota.quota import QuotaRoot

#: Told how many quota roots were read and not wanted.
Passed = Callable[[int], None]


@attrs.frozen
class Source:
    """Quota data that can be read: what to call it, and how its server names users."""

    name: str
    naming: Naming
    _read: Callable[[OnProblem], Iterator[QuotaRoot]]
    #: Gives what a sieve wants, and is to tell how many other roots there were.
    _sift: Optional[Callable[[Sieve, OnProblem, Passed], Iterator[QuotaRoot]]] = None

    def roots(self, on_problem: OnProblem = raise_problem) -> Iterator[QuotaRoot]:
        """Every quota root, in the order of the source."""
        return self._read(on_problem)

    def counted(
        self, sieve: Optional[Sieve] = None, on_problem: OnProblem = raise_problem
    ) -> Counted:
        """The quota roots that `sieve` may want (all without one), in any order; all count."""
        return Counted(self, sieve, on_problem)

    def _wanted(self, sieve: Sieve, on_problem: OnProblem, passed: Passed) -> Iterator[QuotaRoot]:
        if self._sift is None:
            return self._read(on_problem)
        return self._sift(sieve, on_problem, passed)


class Counted:
    """Quota roots as they pass, and how many have been read for it."""

    def __init__(self, source: Source, sieve: Optional[Sieve], on_problem: OnProblem) -> None:
        self.count = 0
        if sieve is None:
            self._roots = source.roots(on_problem)
        else:
            self._roots = source._wanted(sieve, on_problem, self._passed)

    def _passed(self, others: int) -> None:
        self.count += others

    def __iter__(self) -> Iterator[QuotaRoot]:
        for root in self._roots:
            self.count += 1
            yield root


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

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        with cyrusdb.open(path, backend, on_problem=on_problem) as db:
            yield from _roots(db, str(path), on_problem)

    def wanted(sieve: Sieve, on_problem: OnProblem, passed: Passed) -> Iterator[QuotaRoot]:
        found = cyrusdb.sift(path, sieve, backend, on_problem=on_problem)
        passed(found.records - len(found.kept))
        yield from _roots(found.kept, str(path), on_problem)

    return Source(printable(str(path)), naming or Naming(), roots, wanted)


def configured(conf: ImapdConf) -> Source:
    """The quota database that `conf` leads Cyrus to.

    quotalegacy is a tree whatever other files lie about; for the others the magic bytes of the
    file go before the name in the configuration, as in Cyrus.
    """
    backend, naming = conf.quota_backend, conf.naming
    if backend != "quotalegacy":
        if backend not in cyrusdb.CYRUS_BACKENDS:
            names = ", ".join(sorted(cyrusdb.CYRUS_BACKENDS))
            found = shown(backend.encode("utf-8", "surrogateescape"))
            raise ConfigError(
                f"{printable(conf.path)}: option quota_db: expected one of {names}, found {found}"
            )
        return database(conf.quota_path, backend, naming)
    from cyrusquota.cyrusdb import quotalegacy

    base, full = conf.quotalegacy_base, conf.switch("fulldirhash", False)

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        with quotalegacy.QuotaTree(
            base, on_problem, fulldirhash=full, virtdomains=naming.virtdomains
        ) as tree:
            yield from _roots(tree, str(base), on_problem)

    def wanted(sieve: Sieve, on_problem: OnProblem, passed: Passed) -> Iterator[QuotaRoot]:
        found = quotalegacy.sift(base, sieve, fulldirhash=full, virtdomains=naming.virtdomains)
        if found is None:
            yield from roots(on_problem)
            return
        passed(found.records - len(found.kept))
        yield from _roots(found.kept, str(base), on_problem)

    return Source(printable(str(base / "quota")), naming, roots, wanted)


def dumped(stream: BinaryIO, name: str = "-", naming: Optional[Naming] = None) -> Source:
    """A dump of a quota database, by `cyr_dbtool ... show` or as a flat file; read once."""
    from cyrusquota.parse import dump

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        records = dump.records(stream, source=name, on_problem=on_problem)
        return _roots(records, name, on_problem)

    def wanted(sieve: Sieve, on_problem: OnProblem, passed: Passed) -> Iterator[QuotaRoot]:
        records = dump.sifted(stream, sieve, passed, source=name, on_problem=on_problem)
        return _roots(records, name, on_problem)

    return Source(printable(name), naming or Naming(), roots, wanted)


def reported(stream: BinaryIO, name: str = "-", naming: Optional[Naming] = None) -> Source:
    """The output of `quota`, text or JSON; read once."""
    from cyrusquota.parse import report

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        return report.roots(stream, source=name, on_problem=on_problem)

    def wanted(sieve: Sieve, on_problem: OnProblem, passed: Passed) -> Iterator[QuotaRoot]:
        return report.sifted(stream, sieve, passed, source=name, on_problem=on_problem)

    return Source(printable(name), naming or Naming(), roots, wanted)


def _roots(
    records: Iterable[tuple[bytes, bytes]], name: str, on_problem: OnProblem
) -> Iterator[QuotaRoot]:
    def named(problem: CyrusQuotaError) -> None:
        on_problem(problem.at(Place(name)) if isinstance(problem, DataError) else problem)

    for key, data in records:
        root = value.quota_root(key, data, on_problem=named)
        if root is not None:
            yield root
