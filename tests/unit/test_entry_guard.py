"""The limits for entries of which only changes are looked at, beside a plain comparison."""

from __future__ import annotations

from typing import Optional

from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.engine.entry_guard import EntryGuard
from cyrusquota.publish.guard import Change, Limit, Limits
from cyrusquota.publish.sliding_guard import WINDOW

KEYS = [b"%d" % number for number in range(12)]
LIMITS = Limits(Limit(20, 3), Limit(50, 4))


@given(
    start=st.sets(st.sampled_from(KEYS)),
    steps=st.lists(
        st.tuples(st.sampled_from([1.0, 100.0, 301.0]), st.sets(st.sampled_from(KEYS))), max_size=12
    ),
)
def test_it_counts_as_a_comparison_of_whole_sets_would(
    start: set[bytes], steps: list[tuple[float, set[bytes]]]
) -> None:
    now = [0.0]
    guard = EntryGuard(LIMITS, lambda: now[0])
    guard.begin(len(start))
    held, before, later, since = start, start, start, 0.0
    for seconds, wanted in steps:
        now[0] += seconds
        added, removed = sorted(wanted - held), sorted(held - wanted)
        expected = [
            LIMITS.exceeded(Change.between(old, wanted), len(old)) for old in (held, before)
        ]
        rejection = guard.rejection(added, removed)
        assert (rejection is None) == (expected == [None, None])
        if rejection is None:
            guard.accepted(added, removed)
            held = wanted
            if now[0] - since >= WINDOW:
                before, later, since = later, held, now[0]


def test_a_large_change_is_held_back_and_says_what_to_accept() -> None:
    guard = EntryGuard(LIMITS, lambda: 0.0)
    guard.begin(10)
    added = [b"x%d" % number for number in range(20)]
    found = guard.rejection(added, [])
    assert found is not None
    assert found.reason == (
        "20 entries would be added to 10 and 0 removed, more than --max-change added=20%,3 allows"
    )
    assert (found.ceiling, found.advice) == (20, "accept up to 20 changes once")


def test_small_changes_are_counted_together_for_some_minutes() -> None:
    now = [0.0]
    guard = EntryGuard(LIMITS, lambda: now[0])
    guard.begin(10)
    guard.accepted([b"a", b"b", b"c"], [])
    now[0] = 90.0
    assert _reason(guard, [b"d"]) == (
        "4 entries would be added to 10 and 0 removed within 2 minutes, more than --max-change"
        " added=20%,3 allows"
    )
    # What is removed again was never added.
    assert guard.rejection([b"d"], [b"a"]) is None
    for number in (1, 2):
        now[0] = number * WINDOW
        guard.accepted([], [])
    assert guard.rejection([b"d"], []) is None


def _reason(guard: EntryGuard, added: list[bytes]) -> Optional[str]:
    found = guard.rejection(added, [])
    return None if found is None else found.reason
