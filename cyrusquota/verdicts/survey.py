"""Evaluate all roots of a source and summarise them, in all processes at once.

Each process adds up what it reads. Roots that may be full or near it, and values in an unusual
form, are handed to this one, which parses and judges them. Where all roots together decide, and
where the source is a stream or damaged, there is no survey: then everything is read one by one.
"""

from __future__ import annotations

import marshal
from functools import partial
from itertools import compress
from typing import Iterable, Iterator, Optional, Sequence

import attrs

from cyrusquota.cyrus.names import domain_runs, inbox_owner
from cyrusquota.cyrusdb import Fold
from cyrusquota.cyrusdb.selection import Record
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.parse import columns, value
from cyrusquota.parse.prefilter import Prefilter
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.mailboxes import Inbox, is_delivered_to
from cyrusquota.site.site import Site
from cyrusquota.site.source import Counted, Source
from cyrusquota.verdicts import evaluator, selection
from cyrusquota.verdicts.evaluator import Query, Verdict
from cyrusquota.verdicts.selection import Progress
from cyrusquota.verdicts.summary import Summary, Users


@attrs.frozen
class Survey:
    """The verdicts on who is full or near it, and the number of roots and users they rest on.

    `users` counts the live INBOXes or, without a site, the roots that are a user's own.
    """

    verdicts: list[Verdict]
    roots: int
    users: int


def survey(
    source: Source, query: Query, summary: Optional[Summary] = None, progress: Progress = iter
) -> Optional[Survey]:
    """Return the verdicts and counts, and add all roots to `summary`; None where that is too early.

    Raises what reading the source raises.
    """
    if evaluator.needs_all(query):
        return None
    total = None if summary is None else summary.empty()
    wanted = selection.prefilter(query.policy, query.reserve)
    found = source.scanned(Fold(_Sums(wanted, total)))
    if found is None:
        return None
    counted, users = Counted(), 0
    kept, unusual = list[Record](), list[Record]()
    for _, state in found.kept:
        roots, owners, of_sums, others, sums = marshal.loads(state)
        counted.add(roots)
        users += owners
        kept += of_sums
        unusual += others
        if total is not None:
            total.merge(sums)
    problems: list[CyrusQuotaError] = []
    on_problem = query.on_problem if query.site is None else problems.append
    counted.pass_on(source.parsed(unusual, on_problem))
    others = list(progress(counted))
    full = [*source.parsed(kept, on_problem), *others]
    inboxes = None if query.site is None else _Inboxes(query.site, query)
    verdicts = selection.of_full_roots(full, query, problems, inboxes)
    if verdicts is None:
        return None
    users = inboxes.users if inboxes else users + _owners(root.name for root in others)
    if summary is not None and total is not None:
        for root in others:
            total.add(root)
        summary.merge(total.state())
    return Survey(verdicts, counted.count, users)


@attrs.define
class _Inboxes:
    """Returns the INBOXes with some names, and counts all to which mail is delivered."""

    site: Site
    query: Query
    users: int = 0

    def __call__(self, names: Iterable[str]) -> Iterable[Inbox]:
        """Return the INBOXes called `names`, and maybe others."""
        found = self.site.counted(names, self.query.on_problem)
        if found is not None:
            self.users, inboxes = found
            return inboxes
        return filter(self._count, self.site.inboxes(self.query.on_problem))

    def _count(self, inbox: Inbox) -> bool:
        self.users += is_delivered_to(inbox)
        return True


def _owners(names: Iterable[str]) -> int:
    return sum(inbox_owner(name) is not None for name in names)


@attrs.frozen
class _Sums:
    """Makes of records the state of their sums: roots, users, wanted records, others, a summary.

    The others are not in the sums.
    """

    prefilter: Prefilter
    summary: Optional[Summary]

    def __call__(self, keys: Sequence[bytes], values: Sequence[bytes]) -> Iterator[Record]:
        """Yield one pair, of which the second has all, for `marshal`."""
        wanted = self.prefilter(keys, values)
        kept = [(keys[at], values[at]) for at in wanted]
        if self.summary is None:
            keys = _without(wanted, keys)
            users = len(keys) if domain_runs(keys) else _owners(columns.names(keys))
            yield b"", marshal.dumps((len(keys), users, [], kept, None))
            return
        sums, domains, others = self.summary.empty(), domain_runs(keys), list[Record]()
        storage = columns.storage(values) if domains else None
        if domains and storage:
            sums.add_users(Users(domains, *storage, partial(_root, keys, values)))
        else:
            others = [record for record in kept if not columns.is_usual(record[1])]
            kept = [record for record in kept if columns.is_usual(record[1])]
            unusual = [at for at in wanted if not columns.is_usual(values[at])]
            for root in _roots(_without(unusual, keys), _without(unusual, values)):
                sums.add(root)
        state = sums.state()
        yield b"", marshal.dumps((sums.roots, sums.total().users, kept, others, state))


def _without(indexes: Sequence[int], texts: Sequence[bytes]) -> Sequence[bytes]:
    """Return the texts that are not at one of the indexes."""
    if not indexes:
        return texts
    is_left = bytearray(b"\1" * len(texts))
    for at in indexes:
        is_left[at] = 0
    return [*compress(texts, is_left)]


def _root(keys: Sequence[bytes], values: Sequence[bytes], at: int) -> QuotaRoot:
    root = value.quota_root(keys[at], values[at])
    assert root is not None
    return root


def _roots(keys: Sequence[bytes], values: Sequence[bytes]) -> Iterable[QuotaRoot]:
    found = columns.columns(keys, values)
    if found is not None:
        return found.roots()
    # The form of 2.4, which the prefilter knows.
    return filter(None, map(value.quota_root, keys, values))
