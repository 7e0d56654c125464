"""The lines and the entries of a map while users come and go: those of all who are there."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cyrus.names import Recipient
from cyrusquota.follow import sorted_lines
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.sorted_lines import SortedLines
from cyrusquota.maps import Entry, entries, lsearch

KEYS = [b"", b"a", b"a.b", b"a@b", b"b", b"\xff", b"z" * 40, *(b"%d" % n for n in range(20))]


@pytest.fixture(autouse=True)
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_lines, "_SIZE", 2)


@given(
    steps=st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=3)), max_size=80)
)
def test_lines_are_in_the_order_of_their_keys(steps: list[tuple[bytes, Optional[bytes]]]) -> None:
    found, expected = SortedLines(), dict[bytes, bytes]()
    for key, line in steps:
        if line is not None:
            found.put(key, line)
            expected[key] = line
        elif key in expected:
            found.drop(key)
            del expected[key]
        else:
            with pytest.raises(KeyError):
                found.drop(key)
        assert list(found) == sorted(expected)
        assert len(found) == len(expected)
        assert found.joined() == b"".join(line for _, line in sorted(expected.items()))


NAMES = ["user.a", "user.b", "user.c", "x!user.a"]
#: Two spellings of one key, a key in quotes, the exempt, and a key that a map cannot hold.
TO = [
    Recipient("a"),
    Recipient("A"),
    Recipient("a", "b"),
    Recipient("a:b"),
    Recipient("postmaster"),
]


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.none() | st.tuples(st.sampled_from(TO), st.sampled_from([b"over", b"near"])),
        ),
        max_size=30,
    )
)
def test_users_come_and_go(
    steps: list[tuple[str, Optional[tuple[Recipient, bytes]]]],
) -> None:
    """A map of those who are there says the same."""
    found = MapEntries(lambda to, status: entries([(to, status)]), lsearch.row)
    listed = dict[str, tuple[Recipient, bytes]]()
    for name, status in steps:
        before, version = found.body(), found.version
        if status is None:
            found.drop(name)
            listed.pop(name, None)
        else:
            found.put(name, *status)
            listed[name] = status
        expected = entries(listed.values())
        assert found.entries() == expected
        assert found.body() == b"".join(lsearch.lines(expected))
        assert found.keys() == lsearch.keys(found.body())
        assert len(found) == len(expected)
        assert found.near == sum(status == b"near" for _, status in listed.values())
        assert (found.version != version) == (found.body() != before)


def test_an_entry_that_the_format_cannot_write_is_left_out() -> None:
    found = MapEntries(
        lambda to, status: [Entry(to.local.encode(), status)],
        lambda entry: None if entry.key == b"odd" else lsearch.row(entry),
    )
    found.put("user.odd", Recipient("odd"), b"over")
    found.put("user.a", Recipient("a"), b"over")
    assert found.body() == b"a: over\n"
    assert (len(found), found.version) == (1, 1)
    found.drop("user.odd")
    found.put("user.odd", Recipient("a"), b"near")
    assert found.body() == b""
