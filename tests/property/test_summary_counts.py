"""What is counted of roots as they pass is what a look at all of them at once comes to."""

from __future__ import annotations

from fractions import Fraction
from typing import Callable, Iterable, Optional

from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import strategies
from cyrusquota.cyrus.names import domain_of
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.strategies._figures import used
from cyrusquota.verdicts.policies import POLICIES, Policy
from cyrusquota.verdicts.summary import STEPS, Summary

_small = st.integers(0, 30)
_usage = st.builds(Usage, used=_small, limit=st.none() | _small) | st.builds(
    Usage, used=used, limit=st.none() | used
)
_root = st.builds(
    QuotaRoot,
    st.sampled_from(
        ["user.a", "user.b", "x.org!user.a", "x.org!", "y.org!user.a.sub", "user.a@x^org"]
    )
    | strategies.names(),
    _usage,
    _usage,
    _usage,
    _usage,
)
_policy = st.sampled_from(list(POLICIES.values()))


def _by_resource(
    roots: Iterable[QuotaRoot], counts: Callable[[Resource, Usage], bool]
) -> dict[Resource, int]:
    pairs = [pair for root in roots for pair in root.usages()]
    return {
        resource: sum(kind is resource and counts(kind, usage) for kind, usage in pairs)
        for resource in Resource
    }


def _is_over(policy: Policy, kind: Resource, usage: Usage) -> bool:
    more = policy.room.get(kind)
    # Two numbers of the range that C holds, so that no sum needs more than Python's own.
    total = usage.used + (more or 0)
    wrapped = total if total < 1 << 63 else total - (1 << 64)
    return more is not None and usage.limit is not None and wrapped > usage.limit


def _is_near(policy: Policy, percent: int, kind: Resource, usage: Usage) -> bool:
    if usage.limit is None or kind not in policy.room or _is_over(policy, kind, usage):
        return False
    return 100 * usage.used >= percent * usage.limit


def _share(usage: Usage) -> Optional[Fraction]:
    """Use over limit; None is beyond every number."""
    assert usage.limit is not None
    if usage.limit <= 0:
        return None if usage.used > usage.limit else Fraction(1)
    return max(Fraction(0), Fraction(usage.used, usage.limit))


def _key(share: Optional[Fraction]) -> float:
    return float("inf") if share is None else float(share)


@given(st.lists(_root, max_size=30), _policy, st.sampled_from([50, 90, 99]))
def test_counters_are_those_of_all_roots_at_once(
    roots: list[QuotaRoot], policy: Policy, near: int
) -> None:
    summary = Summary(policy, near)
    assert list(summary.passing(roots)) == roots
    assert summary.roots == len(roots)
    assert summary.limited == _by_resource(roots, lambda kind, usage: usage.limit is not None)
    assert summary.over == _by_resource(roots, lambda *pair: _is_over(policy, *pair))
    assert summary.near_limit == _by_resource(roots, lambda *pair: _is_near(policy, near, *pair))
    full = [root for root in roots if any(_is_over(policy, *pair) for pair in root.usages())]
    assert summary.over_roots == len(full)
    assert summary.near_roots == sum(
        root not in full and any(_is_near(policy, near, *pair) for pair in root.usages())
        for root in roots
    )


@given(st.lists(_root, max_size=30))
def test_domains_add_up(roots: list[QuotaRoot]) -> None:
    summary = Summary()
    for root in roots:
        summary.add(root)
    assert set(summary.domains) == {domain_of(root.name) for root in roots}
    for domain, totals in summary.domains.items():
        own = [root for root in roots if domain_of(root.name) == domain]
        assert totals.roots == len(own)
        assert totals.used == sum(max(0, root.storage.used) for root in own)
        assert totals.limits == sum(max(0, root.storage.limit or 0) for root in own)
        assert totals.unlimited == sum(root.storage.limit is None for root in own)
    assert summary.total().roots == len(roots)
    assert summary.total().over == summary.over_roots


@given(st.lists(_root, max_size=30), st.integers(0, 8))
def test_the_fullest_are_the_first_of_all_in_order(roots: list[QuotaRoot], keep: int) -> None:
    summary = Summary(keep=keep)
    for root in roots:
        summary.add(root)
    ranked = sorted(
        (-max(_key(_share(usage)) for usage in limited), root.name)
        for root in roots
        if (limited := [usage for _, usage in root.usages() if usage.limit is not None])
    )
    assert [(-full.fraction, full.root.name) for full in summary.fullest()] == ranked[:keep]
    for full in summary.fullest():
        assert _key(_share(dict(full.root.usages())[full.resource])) == full.fraction


@given(st.lists(st.tuples(_small, _small), max_size=30))
def test_the_histogram_has_a_step_for_each_tenth_and_one_above(
    pairs: list[tuple[int, int]],
) -> None:
    summary = Summary()
    for number, (use, limit) in enumerate(pairs):
        summary.add(QuotaRoot(f"user.u{number}", Usage(use, limit)))
    shares = [_share(Usage(use, limit)) for use, limit in pairs]
    assert summary.histogram[STEPS] == sum(share is None or share > 1 for share in shares)
    for step in range(STEPS):
        begin, end = Fraction(step, 10), Fraction(step + 1, 10)
        assert summary.histogram[step] == sum(
            share is not None and (begin <= share < end or (step == STEPS - 1 and share == 1))
            for share in shares
        )
