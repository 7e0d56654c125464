"""Read quota roots from an imapd.conf, a path or a stream.

A `Source` says where quota data is, and reads it again each time it is asked. Data that cannot be
read as a whole raises; single records that cannot be read go to `on_problem` and are left out.
"""

from __future__ import annotations

import marshal
import os
from functools import partial
from typing import AbstractSet, BinaryIO, Callable, Iterable, Iterator, Optional, Sequence

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.names import Naming
from cyrusquota.cyrusdb.database import TablePath
from cyrusquota.errors import (
    AnyPath,
    CyrusQuotaError,
    DataError,
    OnProblem,
    Place,
    printable,
    raise_problem,
)
from cyrusquota.parse import columns, value
from cyrusquota.parse.prefilter import Prefilter
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.databases import check_empty, check_quotas, check_readable, database_path

#: Quota roots that are made at a time.
_BATCH = 1 << 11
#: The table of quotas where a SQLite file has several.
_TABLE = "quotas_db"
#: The keys and the values of some thousand records.
Batch = tuple[Sequence[bytes], Sequence[bytes]]
#: Takes the number of quota roots that were read and not selected.
Passed = Callable[[int], None]

Lookup = Callable[[AbstractSet[bytes], OnProblem], dict[bytes, Optional[bytes]]]


@attrs.frozen
class Source:
    """Quota data that can be read: its name for messages, and how its server names users.

    `opened` opens its database; it is None for a stream, which can be read only once.
    """

    name: str
    naming: Naming
    _read: Callable[[OnProblem], Iterator[QuotaRoot]]
    #: Gives the roots that a prefilter wants, and tells how many others there were.
    _select: Callable[[Prefilter, OnProblem, Passed], Iterator[QuotaRoot]]
    opened: Optional[Callable[[OnProblem], cyrusdb.Database]] = None
    #: Returns the records that a predicate wants, faster than reading all where these are few.
    select_records: Optional[Callable[[cyrusdb.Predicate, OnProblem], cyrusdb.Selected]] = None
    #: Returns the values of a few keys, None where there is none (`cyrusdb.lookup`).
    lookup: Optional[Lookup] = None
    #: Where the database is, and for a configured quotalegacy tree, whether fulldirhash is on.
    path: Optional[AnyPath] = None
    fulldirhash: Optional[bool] = None
    _scanned: Optional[Callable[[cyrusdb.Work], Optional[cyrusdb.Selected]]] = None

    def roots(self, on_problem: OnProblem = raise_problem) -> Iterator[QuotaRoot]:
        """Yield every quota root, in the order of the source; raises `CyrusQuotaError`."""
        return self._read(on_problem)

    def scanned(self, work: cyrusdb.Work) -> Optional[cyrusdb.Selected]:
        """Return what `work` wants or makes of the records, None where only reading all tells.

        Raises what `roots` raises.
        """
        found = None if self._scanned is None else self._scanned(work)
        return found if found is not None and found.records else None

    def batches(self) -> Optional[tuple[int, Iterator[Batch]]]:
        """Return how many records there are, and all of them by the thousand; None as `scanned`.

        They are in the order of the source, except that those which changed last come last.
        """
        found = self.scanned(cyrusdb.Fold(_packed))
        if found is None:
            return None
        return found.records, _checked(_unpacked(found.kept), str(self.path))

    def parsed(
        self,
        records: Sequence[tuple[bytes, bytes]],
        on_problem: OnProblem,
        *,
        is_checked: bool = False,
    ) -> Iterator[QuotaRoot]:
        """Yield the quota roots in records of this source.

        Raises `DataError` where the first record is one of another database, unless it `is_checked`
        already.
        """
        batches = _in_batches(records)
        return _many_roots(batches, str(self.path), on_problem, is_first=not is_checked)

    def unreadable(self) -> DataError:
        """Return what to raise where there are problems and not one quota root."""
        advice = "not one record of it can be read; check that it is what it should be"
        return DataError(f"quota roots in {self.name}", advice=advice)

    def counted(
        self, prefilter: Optional[Prefilter] = None, on_problem: OnProblem = raise_problem
    ) -> Counted:
        """Return the roots that `prefilter` selects (or all), in any order, and count all."""
        counted = Counted()
        if prefilter is None:
            counted.pass_on(self._read(on_problem))
        else:
            counted.pass_on(self._select(prefilter, on_problem, counted.add))
        return counted


class Counted:
    """Iterates over quota roots and counts all that are read, selected or not."""

    def __init__(self) -> None:
        self.count = 0
        self._roots: Iterator[QuotaRoot] = iter(())

    def pass_on(self, roots: Iterator[QuotaRoot]) -> None:
        """Set the roots to iterate over."""
        self._roots = roots

    def add(self, others: int) -> None:
        """Count roots that are not selected."""
        self.count += others

    def __iter__(self) -> Iterator[QuotaRoot]:
        for root in self._roots:
            self.count += 1
            yield root


def read(
    path: AnyPath, backend: Optional[str] = None, *, on_problem: OnProblem = raise_problem
) -> Iterator[QuotaRoot]:
    """Yield every quota root of the database at `path`, a file or a quotalegacy tree.

    `backend` is Cyrus's name for the format and need not be given. Raises what `cyrusdb.open`
    raises; a record that cannot be read goes to `on_problem`, as `BadValue` or `DamagedDatabase`,
    and by default is raised.
    """
    return from_database(path, backend).roots(on_problem)


def from_database(
    path: AnyPath, backend: Optional[str] = None, naming: Optional[Naming] = None
) -> Source:
    """Return the database at `path` as a source; nothing is read yet."""
    return _from_file(TablePath(os.fspath(path), _TABLE), backend, naming or Naming())


def _from_file(
    path: AnyPath,
    backend: Optional[str],
    naming: Naming,
    check: Callable[[], None] = lambda: None,
) -> Source:
    def opened(on_problem: OnProblem) -> cyrusdb.Database:
        check()
        return cyrusdb.open(path, backend, on_problem=on_problem)

    def scanned(work: cyrusdb.Work) -> Optional[cyrusdb.Selected]:
        check()
        return cyrusdb.scanned(path, work, backend)

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        found = scanned(cyrusdb.Fold(_packed))
        if found is not None and found.records:
            yield from _many_roots(_unpacked(found.kept), str(path), on_problem)
            return
        with opened(on_problem) as db:
            if db.snapshot().records == 0:
                check_empty(path)
            yield from _roots(db, str(path), on_problem)

    def select(predicate: cyrusdb.Predicate, on_problem: OnProblem) -> cyrusdb.Selected:
        check()
        return cyrusdb.select(path, predicate, backend, on_problem=on_problem)

    def selected_roots(
        prefilter: Prefilter, on_problem: OnProblem, passed: Passed
    ) -> Iterator[QuotaRoot]:
        found = select(prefilter, on_problem)
        if not found.records:
            check_empty(path)
        passed(found.records - len(found.kept))
        yield from _many_roots(_in_batches(found.kept), str(path), on_problem)

    def lookup(keys: AbstractSet[bytes], on_problem: OnProblem) -> dict[bytes, Optional[bytes]]:
        check()
        return cyrusdb.lookup(path, keys, backend, on_problem=on_problem)

    return Source(
        printable(str(path)),
        naming,
        roots,
        selected_roots,
        opened=opened,
        select_records=select,
        lookup=lookup,
        path=path,
        scanned=scanned,
    )


def from_config(conf: ImapdConf) -> Source:
    """Return the quota database that `conf` leads Cyrus to; raises `ConfigError`.

    quotalegacy is always a tree; for the other backends the magic bytes of the file go before the
    name in the configuration, as in Cyrus.
    """
    backend, naming = conf.quota_backend, conf.naming
    if backend != "quotalegacy":
        path = database_path(conf, "quota_db", conf.quota_path)
        check = partial(check_readable, conf, "quota_db", conf.quota_path)
        return _from_file(path, backend, naming, check)
    from cyrusquota.cyrusdb.quotalegacy import lookup as lookups
    from cyrusquota.cyrusdb.quotalegacy import reader, scan

    base, full = conf.quotalegacy_base, conf.switch("fulldirhash", False)

    def opened(on_problem: OnProblem) -> cyrusdb.Database:
        return reader.QuotaTree(base, on_problem, fulldirhash=full, virtdomains=naming.virtdomains)

    def scanned(work: cyrusdb.Work) -> Optional[cyrusdb.Selected]:
        return scan.select(base, work, fulldirhash=full, virtdomains=naming.virtdomains)

    def plain(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        with opened(on_problem) as tree:
            yield from _roots(tree, str(base), on_problem)

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        found = scanned(cyrusdb.Fold(_packed))
        if found is None or not found.records:
            yield from plain(on_problem)
        else:
            yield from _many_roots(_unpacked(found.kept), str(base), on_problem)

    def selected_roots(
        prefilter: Prefilter, on_problem: OnProblem, passed: Passed
    ) -> Iterator[QuotaRoot]:
        found = scanned(prefilter)
        if found is None:
            yield from plain(on_problem)
            return
        passed(found.records - len(found.kept))
        yield from _many_roots(_in_batches(found.kept), str(base), on_problem)

    def lookup(keys: AbstractSet[bytes], on_problem: OnProblem) -> dict[bytes, Optional[bytes]]:
        virtdomains = bool(naming.virtdomains)
        return lookups.lookup(base, keys, on_problem, fulldirhash=full, virtdomains=virtdomains)

    return Source(
        printable(str(base / "quota")),
        naming,
        roots,
        selected_roots,
        opened=opened,
        select_records=lambda predicate, on_problem: cyrusdb.select(
            base, predicate, on_problem=on_problem
        ),
        lookup=lookup,
        path=base,
        fulldirhash=full,
        scanned=scanned,
    )


def from_dump(stream: BinaryIO, name: str = "-", naming: Optional[Naming] = None) -> Source:
    """Return a dump (`cyr_dbtool ... show`, db_dump or a flat file) as a source; read once."""
    from cyrusquota.parse import dump

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        records = dump.records(stream, source=name, on_problem=on_problem)
        return _roots(records, name, on_problem)

    def selected_roots(
        prefilter: Prefilter, on_problem: OnProblem, passed: Passed
    ) -> Iterator[QuotaRoot]:
        records = dump.selected(stream, prefilter, passed, source=name, on_problem=on_problem)
        return _roots(records, name, on_problem)

    return Source(printable(name), naming or Naming(), roots, selected_roots)


def from_report(stream: BinaryIO, name: str = "-", naming: Optional[Naming] = None) -> Source:
    """Return the output of `quota`, text or JSON, as a source; read once."""
    from cyrusquota.parse import report

    def roots(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        return report.roots(stream, source=name, on_problem=on_problem)

    def selected_roots(
        prefilter: Prefilter, on_problem: OnProblem, passed: Passed
    ) -> Iterator[QuotaRoot]:
        return report.selected(stream, prefilter, passed, source=name, on_problem=on_problem)

    return Source(printable(name), naming or Naming(), roots, selected_roots)


def roots_in(db: cyrusdb.Database, on_problem: OnProblem) -> Iterator[QuotaRoot]:
    """Yield every quota root of a database that `Source.opened` returned."""
    return _roots(db, str(db.path), on_problem)


def _roots(
    records: Iterable[tuple[bytes, bytes]], name: str, on_problem: OnProblem
) -> Iterator[QuotaRoot]:
    def named(problem: CyrusQuotaError) -> None:
        on_problem(problem.at(Place(name)) if isinstance(problem, DataError) else problem)

    is_first = True
    for key, data in records:
        if is_first:
            check_quotas(key, data, name)
            is_first = False
        root = value.quota_root(key, data, on_problem=named)
        if root is not None:
            yield root


# Many at once


def _packed(keys: Sequence[bytes], values: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield all records by the thousand, in little memory."""
    for at in range(0, len(keys), _BATCH):
        part = slice(at, at + _BATCH)
        yield marshal.dumps(list(keys[part])), marshal.dumps(list(values[part]))


def _unpacked(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[Batch]:
    """Yield the keys and the values that `_packed` packed."""
    for keys, values in pairs:
        yield marshal.loads(keys), marshal.loads(values)


def _in_batches(records: Sequence[tuple[bytes, bytes]]) -> Iterator[Batch]:
    """Yield the keys and the values of records, by the thousand."""
    for at in range(0, len(records), _BATCH):
        keys, values = zip(*records[at : at + _BATCH])
        yield keys, values


def _checked(batches: Iterable[Batch], name: str) -> Iterator[Batch]:
    """Yield the batches; raises `DataError` where they are no quotas."""
    is_first = True
    for keys, values in batches:
        if is_first:
            check_quotas(keys[0], values[0], name)
            is_first = False
        yield keys, values


def _many_roots(
    batches: Iterable[Batch], name: str, on_problem: OnProblem, *, is_first: bool = True
) -> Iterator[QuotaRoot]:
    """Yield what `_roots` yields of the records in the batches."""
    for keys, values in _checked(batches, name) if is_first else batches:
        found = columns.columns(keys, values)
        if found is not None:
            yield from found.roots()
        else:
            yield from _mixed_roots(keys, values, name, on_problem)


def _mixed_roots(
    keys: Sequence[bytes], values: Sequence[bytes], name: str, on_problem: OnProblem
) -> Iterator[QuotaRoot]:
    """Yield the roots of a batch in which some values are not in the usual form."""

    def named(problem: CyrusQuotaError) -> None:
        on_problem(problem.at(Place(name)) if isinstance(problem, DataError) else problem)

    usual = columns.usual(values)
    found = columns.columns([keys[at] for at in usual], [values[at] for at in usual])
    roots = dict(zip(usual, found.roots() if found is not None else ()))
    for at, key in enumerate(keys):
        root = roots.get(at) or value.quota_root(key, values[at], on_problem=named)
        if root is not None:
            yield root
