"""Which changes of a map are believed."""

from __future__ import annotations

from typing import Optional

import pytest

from cyrusquota.errors import OptionError
from cyrusquota.maps import Entry, MapHeader, lsearch
from cyrusquota.publish.guard import Change, Guard, Limit, Limits, MapSummary, check_change


def told(*numbers: int, roots: Optional[int] = 25_000, source: str = "quotas.db") -> MapSummary:
    return MapSummary({b"%d" % number for number in numbers}, roots, source)


def test_a_change_counts_what_comes_what_goes_and_what_stays() -> None:
    change = Change.between({b"a", b"b", b"c"}, {b"c", b"d"})
    assert change == Change(added=1, removed=2, kept=1)
    assert change.count == 3


@pytest.mark.parametrize(
    ("changed", "of", "allowed"),
    [
        (20, 0, True),
        (21, 0, False),
        (21, 105, True),
        (21, 104, False),
        (5000, 25_000, True),
        (5001, 25_000, False),
    ],
)
def test_a_limit_is_broken_by_share_and_count_together(
    changed: int, of: int, allowed: bool
) -> None:
    assert Limit(20, 20).allows(changed, of) is allowed


@pytest.mark.parametrize(
    ("old", "new", "is_held"),
    [
        (range(100), range(100), False),
        (range(100), range(120), False),
        (range(100), range(121), True),
        (range(100), range(50), False),
        (range(100), range(49), True),
        # A fifth goes and a fifth comes: each direction is judged by itself.
        (range(100), range(20, 120), False),
        (range(100), range(100, 200), True),
        # Few entries are a small matter, many on top of few are not.
        (range(0), range(20), False),
        (range(3), range(23), False),
        (range(3), range(25_000), True),
        (range(50), range(0), False),
        (range(51), range(0), True),
    ],
)
def test_the_defaults_hold_growth_early_and_shrinkage_late(
    old: range, new: range, is_held: bool
) -> None:
    assert (check_change(told(*old), told(*new), Limits()) is not None) is is_held


def test_accepting_a_number_is_a_ceiling_in_the_place_of_the_limits() -> None:
    old, new = told(*range(100)), told(*range(50, 250))
    assert check_change(old, new, Limits(), accept=200) is None
    assert check_change(old, new, Limits(), accept=199) is not None
    # Also where the limits would have let it pass.
    assert check_change(old, told(*range(101)), Limits(), accept=0) is not None
    assert check_change(old, old, Limits(), accept=0) is None


@pytest.mark.parametrize("accept", [None, 1_000_000])
def test_a_source_without_one_root_is_refused_whatever_the_limits(accept: Optional[int]) -> None:
    open_wide = Limits(added=None, removed=None)
    refused = check_change(told(1, 2), told(roots=0), open_wide, accept)
    assert refused is not None
    assert refused.ceiling is None
    assert "has no quota roots" in refused.reason
    # Even if neither lists anybody.
    assert check_change(told(), told(roots=0), open_wide, accept) is not None


def test_a_source_without_one_root_is_no_surprise_where_there_were_few() -> None:
    assert check_change(told(1, 2, roots=9), told(roots=0), Limits()) is None
    assert check_change(told(1, 2, roots=10), told(roots=0), Limits()) is not None


def test_a_map_that_does_not_tell_its_roots_came_from_as_many_as_it_has_entries() -> None:
    assert check_change(told(*range(10), roots=None), told(roots=0), Limits()) is not None
    assert check_change(told(*range(9), roots=None), told(roots=0), Limits()) is None


def test_why_a_map_is_held_names_the_numbers_the_setting_and_the_way_on() -> None:
    found = check_change(told(1, 2, 3), told(*range(2, 25_000)), Limits())
    assert found is not None
    assert found.reason == (
        "24996 entries would be added to the 3 in place and 1 removed, more than --max-change"
        " added=20%,20 allows; the map in place stays and is not renewed"
    )
    assert found.advice == "check the quota database, or accept up to 25000 changes once"
    assert found.ceiling == 25_000


def test_why_a_map_is_held_says_if_it_was_made_from_something_else() -> None:
    found = check_change(told(source="old.db"), told(*range(30), source="new.db"), Limits())
    assert found is not None
    assert "(the map in place was made from old.db)" in found.reason


@pytest.mark.parametrize("count", [21, 99, 100, 101, 999, 1001, 24_997, 99_999])
def test_the_ceiling_that_is_offered_lets_this_change_pass_and_not_much_more(count: int) -> None:
    old, new = told(), told(*range(count))
    found = check_change(old, new, Limits())
    assert found is not None
    assert found.ceiling is not None
    assert check_change(old, new, Limits(), found.ceiling) is None
    assert count <= found.ceiling <= count * 1.1


@pytest.mark.parametrize(
    ("texts", "added", "removed"),
    [
        ((), Limit(20, 20), Limit(50, 50)),
        (("5%,7",), Limit(5, 7), Limit(5, 7)),
        (("added=2.5%,0",), Limit(2.5, 0), Limit(50, 50)),
        (("removed=off",), Limit(20, 20), None),
        (("off",), None, None),
        (("off", "added=1%,1"), Limit(1, 1), None),
        (("added=1%,1", "added=2%,2"), Limit(2, 2), Limit(50, 50)),
    ],
)
def test_limits_are_read_as_the_option_takes_them(
    texts: tuple[str, ...], added: Optional[Limit], removed: Optional[Limit]
) -> None:
    limits = Limits.of(texts)
    assert (limits.added, limits.removed) == (added, removed)


@pytest.mark.parametrize(
    "text", ["", "20", "20%", "20,50", "-1%,5", "20%,5.5", "kept=1%,1", "20%,50 ", "nan%,1", "٢%,1"]
)
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(OptionError, match=r"--max-change: expected a limit such as 20%,50"):
        Limits.of([text])


def test_a_limit_reads_as_it_is_written() -> None:
    assert [str(Limits.of([f"added={text}"]).added) for text in ("20%,50", "2.5%,0")] == [
        "20%,50",
        "2.5%,0",
    ]


def test_what_a_map_tells_of_itself_is_read_from_its_header() -> None:
    content = lsearch.document(
        [Entry(b"jane", b":defer: x"), Entry(b'a b"c', b":defer: x"), Entry(b"#h", b":defer: x")],
        ["Written by cyrusquota-export 0.1.0; do not edit", "source: a: b", "roots: 12"],
    )
    told = MapSummary.of(lsearch, content)
    assert told == MapSummary({b"jane", rb'"a b\"c"', b'"#h"'}, 12, "a: b")


@pytest.mark.parametrize("roots", ["", "many", "-1", "1" * 30, "٣"])
def test_a_header_that_makes_no_sense_tells_nothing(roots: str) -> None:
    header = MapHeader.of(["Written by cyrusquota-export 1", f"roots: {roots}"])
    assert header == MapHeader()


@pytest.mark.parametrize("content", [b"", b"jane: x\n", b"# by hand\njane: x\n", b"\0" * 4096])
def test_a_file_without_our_header_is_not_ours(content: bytes) -> None:
    assert MapHeader.of(lsearch.comments(content)) is None


def test_only_comments_at_the_head_are_the_header() -> None:
    content = b"# Written by cyrusquota-export 1\n# roots: 1\njane: x\n# roots: 2\n"
    assert MapHeader.of(lsearch.comments(content)) == MapHeader(roots=1)


def test_a_guard_compares_two_maps() -> None:
    guard = Guard(lambda content: MapSummary(set(content.split()), roots=1), Limits.of(["0%,1"]))
    assert guard(b"a b", b"a c") is None
    assert guard(b"a b", b"a c d") is not None
