"""Evaluate a source, and read only as much of it as the verdicts need.

That is, mostly, the roots that are full, and the INBOXes of their users. Where users inherit a full
root, or a verdict may depend on roots with room, everything is read.
"""

from __future__ import annotations

from typing import Callable, Iterable, Optional

import attrs

from cyrusquota.errors import CyrusQuotaError
from cyrusquota.parse.prefilter import Margin, Prefilter
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.site.mailboxes import Inbox
from cyrusquota.site.source import Counted, Source
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Evaluator, Query, Verdict
from cyrusquota.verdicts.policies import Policy, Reserve

#: Passes roots on, and may show progress.
Progress = Callable[[Counted], Iterable[QuotaRoot]]


@attrs.frozen
class Evaluation:
    """The verdicts on who is full or near it, and how many quota roots they rest on."""

    verdicts: list[Verdict]
    roots: int


def evaluate(source: Source, query: Query, progress: Progress = iter) -> Evaluation:
    """Return what `evaluate_roots` says of all roots of `source`, in any order.

    Raises what reading the source raises.
    """
    if not evaluator.needs_all(query):
        found = _from_full_roots(source, query, progress)
        if found is not None:
            return found
    unreadable: set[str] = set()
    counted = source.counted(None, evaluator.noting(unreadable, query.on_problem))
    verdicts = evaluator.evaluate_roots(progress(counted), query, unreadable)
    return Evaluation(list(verdicts), counted.count)


def _from_full_roots(source: Source, query: Query, progress: Progress) -> Optional[Evaluation]:
    """Return the same from the roots that are full or near it, or None where more is needed."""
    if query.site is not None and source.opened is None:
        # A stream can be read only once.
        return None
    problems: list[CyrusQuotaError] = []
    on_problem = query.on_problem if query.site is None else problems.append
    counted = source.counted(prefilter(query.policy, query.reserve), on_problem)
    verdicts = of_full_roots(progress(counted), query, problems)
    return None if verdicts is None else Evaluation(verdicts, counted.count)


def of_full_roots(
    roots: Iterable[QuotaRoot],
    query: Query,
    problems: Iterable[CyrusQuotaError],
    named: Optional[Callable[[Iterable[str]], Iterable[Inbox]]] = None,
) -> Optional[list[Verdict]]:
    """Return the verdicts by the roots that are full or near it, or None where that is too few.

    `problems` are those met while the roots were read; with a site they are reported only where
    there are verdicts. `named` takes the place of `Site.named`.
    """
    if query.site is None:
        return list(evaluator.evaluate_roots(roots, query))
    few = Evaluator(query)
    for root in roots:
        few.add(root)
    if few.inherited:
        # Who inherits, only all roots together tell.
        return None
    for problem in problems:
        query.on_problem(problem)
    names = [*few.bad, *([] if query.catchall is None else [query.catchall])]
    inboxes = query.site.named(names, query.on_problem) if named is None else named(names)
    return list(few.settled(few.by_inboxes(inboxes)))


def prefilter(policy: Policy, reserve: Reserve) -> Prefilter:
    """Return a prefilter for the roots that are full by `policy`, or have less than `reserve` left.

    Others do not matter, unless the query `needs_all` or a root that users inherit is full.
    """
    margins = {}
    for resource in Resource:
        amount, percent = reserve.amounts.get(resource, 0), reserve.percents.get(resource, 0)
        if resource in policy.room or amount or percent:
            margins[resource] = Margin(max(amount, policy.room.get(resource, 0)), percent)
    return Prefilter(margins)
