"""Evaluate a source and read no more of it than the verdicts need.

Mostly that is the roots that are full, and the INBOXes of those. Where a full root is inherited,
or a verdict may depend on roots with room, everything is read.
"""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, Optional

import attrs

from cyrusquota.errors import CyrusQuotaError
from cyrusquota.parse.value import Margin, Prefilter
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.site.source import Counted, Source
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Evaluator, Query, Verdict
from cyrusquota.verdicts.policies import Policy, Reserve

#: Passes roots on, and may show progress meanwhile.
Watch = Callable[[Counted], Iterable[QuotaRoot]]


@attrs.frozen
class Evaluation:
    """The verdicts on who is full or near it, and how many quota roots they rest on."""

    verdicts: list[Verdict]
    roots: int


def evaluate(source: Source, query: Query, watch: Watch = iter) -> Evaluation:
    """Return what `evaluate_roots` says of all roots of `source`, in any order.

    Raises what reading the source raises.
    """
    if not evaluator.needs_all(query):
        found = _from_full_roots(source, query, watch)
        if found is not None:
            return found
    counted = source.counted(None, query.on_problem)
    return Evaluation(list(evaluator.evaluate_roots(watch(counted), query)), counted.count)


def _from_full_roots(source: Source, query: Query, watch: Watch) -> Optional[Evaluation]:
    """The same from the roots that are full or near it, or None where these do not tell."""
    wanted = prefilter(query.policy, query.reserve)
    if query.site is None:
        counted = source.counted(wanted, query.on_problem)
        return Evaluation(list(evaluator.evaluate_roots(watch(counted), query)), counted.count)
    if source.opened is None:
        # A stream can be read but once.
        return None
    problems: list[CyrusQuotaError] = []
    counted = source.counted(wanted, problems.append)
    roots = list(watch(counted))
    bad = (root for root in roots if query.policy.over(root) or query.reserve.near(root))
    if any(map(evaluator.is_inherited, bad)):
        return None
    for problem in problems:
        query.on_problem(problem)
    return Evaluation(list(own_verdicts(roots, query)), counted.count)


def own_verdicts(roots: Iterable[QuotaRoot], query: Query) -> Iterator[Verdict]:
    """Return the same as `evaluate_roots`, from the roots that `prefilter` lets through, in less time.

    None of them may be inherited (`is_inherited`), because it takes all roots to tell by whom.
    """
    assert query.site is not None
    judge = Evaluator(query)
    own = {root.name: verdict for root in roots for verdict in judge.by_root(root)}
    for inbox in query.site.named(own, query.on_problem):
        if inbox.name in own and evaluator.is_delivered_to(inbox):
            yield own[inbox.name]


def prefilter(policy: Policy, reserve: Reserve) -> Prefilter:
    """Lets through every root that `policy` refuses mail for or that has less than `reserve` left.

    That is all that `evaluate_roots` needs without a server, and `own_verdicts` with one, unless it
    `needs_all`.
    """
    margins = {}
    for resource in Resource:
        amount, share = reserve.amounts.get(resource, 0), reserve.percents.get(resource, 0)
        if resource in policy.room or amount or share:
            margins[resource] = Margin(max(amount, policy.room.get(resource, 0)), share)
    return Prefilter(margins)
