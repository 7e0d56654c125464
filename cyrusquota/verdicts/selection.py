"""Whom Cyrus refuses, from a source, with no more read of it than that takes.

Mostly that is the roots that are full, and the INBOXes of those. Where a full root is inherited,
or a verdict may depend on roots with room, everything is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterable, Optional

import attrs

from cyrusquota.errors import CyrusQuotaError, OnProblem, raise_problem
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.source import Counted, Source
from cyrusquota.verdicts import overquota
from cyrusquota.verdicts.overquota import Policy, Reserve, Verdict

if TYPE_CHECKING:
    from cyrusquota.site.site import Site

#: Passes roots on to whoever asked for them, and may watch them pass.
Watch = Callable[[Counted], Iterable[QuotaRoot]]


@attrs.frozen
class Refusals:
    """The verdicts on who is full or near it, and how many quota roots they rest on."""

    verdicts: list[Verdict]
    roots: int


def refusals(
    source: Source,
    policy: Policy,
    reserve: Reserve,
    site: Optional[Site] = None,
    on_problem: OnProblem = raise_problem,
    watch: Watch = iter,
) -> Refusals:
    """What `overquota.verdicts` says of all roots of `source`, in any order."""
    if not overquota.needs_all(source.naming, site):
        found = _of_few(source, policy, reserve, site, on_problem, watch)
        if found is not None:
            return found
    counted = source.counted(None, on_problem)
    verdicts = overquota.verdicts(
        watch(counted),
        source.naming,
        policy,
        reserve=reserve,
        site=site,
        on_problem=on_problem,
    )
    return Refusals(list(verdicts), counted.count)


def _of_few(
    source: Source,
    policy: Policy,
    reserve: Reserve,
    site: Optional[Site],
    on_problem: OnProblem,
    watch: Watch,
) -> Optional[Refusals]:
    """The same from the roots that are full or near it, or None where these do not tell."""
    if site is None:
        counted = source.counted(overquota.prefilter(policy, reserve), on_problem)
        verdicts = overquota.verdicts(
            watch(counted), source.naming, policy, reserve=reserve, on_problem=on_problem
        )
        return Refusals(list(verdicts), counted.count)
    if source.opened is None:
        # A stream can be read but once.
        return None
    problems: list[CyrusQuotaError] = []
    counted = source.counted(overquota.prefilter(policy, reserve), problems.append)
    roots = list(watch(counted))
    bad = (root for root in roots if policy.over(root) or reserve.near(root))
    if any(map(overquota.is_inherited, bad)):
        return None
    for problem in problems:
        on_problem(problem)
    verdicts = overquota.own_verdicts(
        roots, source.naming, policy, reserve=reserve, site=site, on_problem=on_problem
    )
    return Refusals(list(verdicts), counted.count)
