"""What the quota roots of a site come to."""

from __future__ import annotations

import tracemalloc

import pytest

from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.policies import SMMAPD
from cyrusquota.verdicts.summary import DomainUsage, Fullest, Summary
from tests.recorded_fixtures import main_roots

MIB = 1 << 20
JANE = QuotaRoot("user.jane", Usage(95 * MIB, 100 * MIB), Usage(12, 10))
BOB = QuotaRoot("user.bob", Usage(5 * MIB))
MAX = QuotaRoot("example.org!user.max", Usage(MIB, MIB))
MIA = QuotaRoot("example.org!user.mia", Usage(0, 0), mailbox=Usage(1, 0))


def summary_of(*roots: QuotaRoot, keep: int = 20) -> Summary:
    summary = Summary(keep=keep)
    for root in roots:
        summary.add(root)
    return summary


def test_a_small_site() -> None:
    summary = summary_of(JANE, BOB, MAX, MIA)
    assert (summary.roots, summary.unlimited) == (4, 1)
    assert list(summary.limited.values()) == [3, 1, 0, 1]
    assert list(summary.over.values()) == [0, 1, 0, 1]
    assert list(summary.near_limit.values()) == [3, 0, 0, 0]
    assert (summary.over_roots, summary.near_roots) == (2, 1)
    assert summary.domains == {
        None: DomainUsage(2, 1, 1, 100 * MIB, 100 * MIB, used_unlimited=5 * MIB, users=2),
        "example.org": DomainUsage(2, 0, 1, MIB, MIB, users=2),
    }
    assert summary.total() == DomainUsage(4, 1, 2, 101 * MIB, 101 * MIB, 5 * MIB, 4)
    assert summary.histogram == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]


def test_roots_that_are_nobodys_own_count_as_no_users() -> None:
    names = ("user", "shared", "x.org!", "user.jane.sub", "user.bob", "x.org!user.max")
    assert summary_of(*map(QuotaRoot, names)).total().users == 2


def test_the_fullest_come_first_and_without_a_limit_nobody_is() -> None:
    assert summary_of(BOB, MAX, JANE, MIA).fullest() == [
        Fullest(float("inf"), Resource.MAILBOX, MIA),
        Fullest(1.2, Resource.MESSAGE, JANE),
        Fullest(1.0, Resource.STORAGE, MAX),
    ]


@pytest.mark.parametrize("keep", [0, 1])
def test_no_more_are_kept_than_asked_for(keep: int) -> None:
    summary = summary_of(JANE, MAX, keep=keep)
    assert [full.root for full in summary.fullest()] == [JANE][:keep]


def test_nothing_comes_to_nothing() -> None:
    summary = summary_of()
    assert summary.total() == DomainUsage()
    assert summary.fullest() == []


def test_the_policy_says_what_counts() -> None:
    summary = Summary(SMMAPD)
    summary.add(MIA)
    assert (summary.over_roots, summary.limited[Resource.MAILBOX]) == (0, 1)


def test_as_many_are_over_as_lmtpd_refused() -> None:
    """Of the recorded roots, whose verdicts are a real lmtpd's."""
    recorded = main_roots().values()
    summary = summary_of(*(root.root for root in recorded))
    for resource in Resource:
        assert summary.over[resource] == sum(resource in root.over for root in recorded)
    assert summary.over_roots == sum(bool(root.over) for root in recorded)


def test_memory_does_not_grow_with_the_roots() -> None:
    summary = Summary()
    tracemalloc.start()
    for number in range(20_000):
        summary.add(QuotaRoot(f"user.u{number}", Usage(number, 15_000)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert summary.roots == 20_000
    # A root with its usages alone takes some hundred bytes.
    assert peak < 20 * summary.roots
