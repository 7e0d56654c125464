"""Read a few quota roots by name without reading them all.

In a quotalegacy tree whose imapd.conf is known, only their files are opened. In other databases,
only their values are parsed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import AbstractSet, Iterable, Iterator, Sequence

from cyrusquota import cyrusdb
from cyrusquota.cyrus.names import hash_letter, split_domain
from cyrusquota.cyrusdb import Predicate
from cyrusquota.cyrusdb.quotalegacy.reader import QuotaTree
from cyrusquota.errors import AnyPath, CyrusQuotaError, DataError, OnProblem, Place
from cyrusquota.explain.names import LONGER
from cyrusquota.parse import value
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.mailboxes import inboxes
from cyrusquota.site.site import Site
from cyrusquota.site.source import Source


def roots_named(
    source: Source, names: AbstractSet[str], on_problem: OnProblem
) -> dict[str, QuotaRoot]:
    """Return the quota roots of `source` that are called one of `names`, by name.

    Raises what reading the source raises.
    """
    if source.opened is None:
        return {root.name: root for root in source.roots(on_problem) if root.name in names}
    found = {}

    def report(problem: CyrusQuotaError) -> None:
        place = Place(source.name)
        on_problem(problem.at(place) if isinstance(problem, DataError) else problem)

    for key, data in _rows(source, names, on_problem):
        root = value.quota_root(key, data, on_problem=report)
        if root is not None:
            found[root.name] = root
    return found


def _rows(
    source: Source, names: AbstractSet[str], on_problem: OnProblem
) -> Iterable[tuple[bytes, bytes]]:
    assert source.path is not None
    if source.fulldirhash is not None:
        virtdomains = bool(source.naming.virtdomains)
        return _Branches(source.path, names, on_problem, source.fulldirhash, virtdomains)
    keys = {os.fsencode(name) for name in names}

    def predicate(some: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
        return [index for index, key in enumerate(some) if key in keys]

    assert source.select_records is not None
    return source.select_records(predicate, on_problem).kept


def names_in(source: Source, size: int, on_problem: OnProblem) -> Iterator[str]:
    """Return names of the quota roots of `source`, skipping most that are not about `size` long."""
    if source.select_records is not None:
        found = source.select_records(_sized(size), on_problem)
        for key, _ in found.kept:
            yield key.decode("utf-8", "surrogateescape")


def inboxes_in(site: Site, size: int, on_problem: OnProblem) -> Iterator[str]:
    """Return names of the INBOXes of `site`, skipping most that are not about `size` long."""
    path = site.path
    if path is None or cyrusdb.guess(path) is None:
        yield from (inbox.name for inbox in site.inboxes(on_problem))
        return
    found = cyrusdb.select(path, _sized(size), on_problem=on_problem)
    yield from (inbox.name for inbox in inboxes(found.kept))


def _sized(size: int) -> Predicate:
    """Return a predicate for keys whose local part is about `size` long."""
    most, least = size + LONGER + len(b"user."), size - LONGER + len(b"user.")

    def predicate(keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
        return [
            index
            for index, key in enumerate(keys)
            if least <= len(key) - key.rfind(b"user") <= most
        ]

    return predicate


class _Branches(QuotaTree):
    """The files of a quotalegacy tree in which Cyrus looks for the roots `names`."""

    def __init__(
        self,
        path: AnyPath,
        names: AbstractSet[str],
        on_problem: OnProblem,
        full: bool,
        virtdomains: bool,
    ) -> None:
        self._names = names
        self._full = full
        super().__init__(path, on_problem, fulldirhash=full, virtdomains=virtdomains)

    def _found(self, base: bytes) -> dict[bytes, bytes]:
        files = {
            os.fsencode(name): self._file(Path(os.fsdecode(base)), name) for name in self._names
        }
        return {key: os.fsencode(path) for key, path in files.items() if path.is_file()}

    def _file(self, base: Path, name: str) -> Path:
        domain, rest = split_domain(name) if self._virtdomains else (None, name)
        if domain is not None:
            base = base / "domain" / self._letter(domain) / domain
            if not rest:
                return base / "quota" / "root"
        _, dot, behind = rest.partition(".")
        return base / "quota" / self._letter(behind if dot else rest) / rest

    def _letter(self, hashed: str) -> str:
        return hash_letter(os.fsencode(hashed), full=self._full)
