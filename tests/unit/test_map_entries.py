"""What is listed for other hosts, beside a map."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cli.map_options import MapOptions
from cyrusquota.cyrus.names import Recipient
from cyrusquota.engine.listing import StoreListing
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.notices import Notices
from cyrusquota.follow.pace import MapPace
from cyrusquota.maps import Entry, KeyForm, lsearch
from cyrusquota.maps.status import NEAR, OVER, Status
from cyrusquota.maps.values import MapValues
from cyrusquota.publish.guard import Limits


def _by_local_part(to: Recipient, status: Status) -> list[Entry]:
    return [Entry(to.local.lower().encode(), b"full")]


def test_two_users_are_one_in_a_map_of_local_parts_but_two_for_other_hosts() -> None:
    store = StoreListing()
    entries = MapEntries(_by_local_part, lsearch.row, store)
    entries.put("a.org!user.jane", Recipient("jane", "a.org"), OVER)
    entries.put("b.org!user.jane", Recipient("Jane", "B.org"), NEAR)
    entries.put("user.joe", Recipient("joe"), OVER)
    assert store.entries == {b"jane@a.org": OVER, b"jane@b.org": NEAR, b"joe@": OVER}
    before = entries.version
    store.changed.clear()
    entries.put("a.org!user.jane", Recipient("jane", "a.org"), NEAR)
    assert entries.version == before
    assert store.changed == {b"jane@a.org"}
    entries.drop("user.joe")
    entries.drop("user.unknown")
    assert entries.body() == b"jane: full\n"
    assert store.entries == {b"jane@a.org": NEAR, b"jane@b.org": NEAR}
    assert store.changed == {b"jane@a.org", b"joe@"}


def test_what_stays_the_same_is_no_change() -> None:
    store = StoreListing()
    store.put("user.jane", Recipient("jane"), OVER)
    store.changed.clear()
    store.put("user.jane", Recipient("jane"), OVER)
    assert not store.changed
    store.put("user.jane", Recipient("jane", "a.org"), OVER)
    assert store.entries == {b"jane@a.org": OVER}
    assert store.changed == {b"jane@", b"jane@a.org"}


def test_two_users_with_one_address_are_listed_as_long_as_they_agree() -> None:
    store = StoreListing()
    store.put("user.jane", Recipient("jane"), OVER)
    store.put("user.Jane", Recipient("Jane"), OVER)
    assert store.entries == {b"jane@": OVER}
    store.put("user.Jane", Recipient("Jane"), NEAR)
    assert store.entries == {}
    store.drop("user.jane")
    assert store.entries == {b"jane@": NEAR}


@given(
    st.builds(
        Recipient, st.sampled_from(["Jane", "joe", "Postmaster"]), st.sampled_from([None, "A.org"])
    ),
    st.sampled_from([KeyForm.AUTO, KeyForm.LOCAL]),
    st.lists(st.sampled_from(["JOE", "jane@a.org"])),
    st.sampled_from([OVER, NEAR]),
)
def test_the_entry_of_one_user_is_that_of_many(
    to: Recipient, form: KeyForm, exempt: list[str], status: Status
) -> None:
    options = MapOptions(MapValues(lsearch), form, tuple(exempt), Limits())
    assert list(options.entry(to, status)) == options.entries([(to, status)])


def test_a_map_that_takes_long_is_put_in_place_less_often() -> None:
    now, used = 0.0, 0.0
    put: list[float] = []

    def slow() -> None:
        nonlocal used
        used += 0.2
        put.append(now)

    pace = MapPace(Notices(print, print), lambda: now, cpu=lambda: used)
    for version in range(50):
        now += 0.1
        pace.step(version, slow)
    # At most one part in seven of the time, so every 1.2 seconds.
    assert len(put) == 4
    assert all(1.2 <= later - sooner + 0.01 < 1.35 for sooner, later in zip(put, put[1:]))
    assert pace.due("another") == pytest.approx(put[-1] + 1.2)
