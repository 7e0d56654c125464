"""Read a few quota roots and INBOXes by name without reading them all.

Where the format of a database allows, only the records on the way to them are read.
"""

from __future__ import annotations

import os
from typing import AbstractSet, Iterator, Sequence

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import Predicate
from cyrusquota.errors import CyrusQuotaError, DataError, OnProblem, Place
from cyrusquota.explain.names import LONGER
from cyrusquota.parse import value
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.databases import exists
from cyrusquota.site.mailboxes import Inbox, inboxes, row_keys
from cyrusquota.site.site import Site
from cyrusquota.site.source import Source


def roots_named(
    source: Source, names: AbstractSet[str], on_problem: OnProblem
) -> dict[str, QuotaRoot]:
    """Return the quota roots of `source` that are called one of `names`, by name.

    Raises what reading the source raises.
    """
    if source.lookup is None:
        return {root.name: root for root in source.roots(on_problem) if root.name in names}
    found = {}

    def report(problem: CyrusQuotaError) -> None:
        place = Place(source.name)
        on_problem(problem.at(place) if isinstance(problem, DataError) else problem)

    rows = source.lookup({os.fsencode(name) for name in names}, on_problem)
    for key, data in rows.items():
        root = None if data is None else value.quota_root(key, data, on_problem=report)
        if root is not None:
            found[root.name] = root
    return found


def roots_below(source: Source, name: str, on_problem: OnProblem) -> list[QuotaRoot]:
    """Return the quota roots of folders below the mailbox `name`.

    There are none where the source is a stream, which can be read only once. Raises what reading
    the source raises.
    """
    if source.select_records is None:
        return []
    start = os.fsencode(name) + b"."

    def is_below(keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
        return [index for index, key in enumerate(keys) if key.startswith(start)]

    found = source.select_records(is_below, on_problem).kept
    return sorted(source.parsed(found, on_problem), key=lambda root: root.name)


def inboxes_named(site: Site, names: AbstractSet[str], on_problem: OnProblem) -> Iterator[Inbox]:
    """Return the INBOXes of `site` that are called one of `names`, and maybe others.

    Raises what reading the list of mailboxes raises.
    """
    keys = row_keys(names)
    path = site.path
    if path is None or not exists(path) or cyrusdb.guess(path) is None or keys is None:
        yield from site.named(names, on_problem)
        return
    found = cyrusdb.lookup(path, keys, on_problem=on_problem)
    yield from inboxes((key, row) for key, row in found.items() if row is not None)


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
