"""What a mirror lists: what fresh stores say, as soon as it is sure and not for longer."""

from __future__ import annotations

from typing import Iterator, Mapping, Optional, Sequence

import attrs
import pytest

from cyrusquota.engine import mirror as module
from cyrusquota.engine.interface import StoreNews
from cyrusquota.engine.mirror import APART, GROWTH, Mirror
from cyrusquota.engine.mirrored_store import union
from cyrusquota.engine.protocol import BEAT, LAPSE, NO_STAMP, Change, Stamp, StoreContent, digest
from cyrusquota.errors import BadStore, EngineMisfit, EngineUnreachable, OptionError
from cyrusquota.follow.notices import Notices
from cyrusquota.publish.guard import Limits
from tests.simulated_engine import Server, SimulatedEngine, Store
from tests.store_hosts import Listed

Entries = Mapping[bytes, bytes]


@attrs.define
class Recorded(SimulatedEngine):
    """Records what is read whole."""

    reads: list[str] = attrs.field(factory=list)

    def read(self, store: str) -> Optional[StoreContent]:
        self.reads.append(store)
        return super().read(store)


class Site:
    """A server, a mirror with a clock, and what it has listed and reported."""

    def __init__(
        self, expect: Sequence[str] = (), limits: Limits = GROWTH, names: Sequence[str] = ("a",)
    ) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        self.told: list[str] = []
        self.listed = Listed()
        self.server = Server()
        self.expect, self.limits = expect, limits
        for name in names:
            self.begin(name, {})
        self.restart()

    def restart(self) -> None:
        self.listed.clear()
        self.engine = Recorded(self.server)
        self.mirror = Mirror(
            self.engine,
            self.listed,
            notices=Notices(self.said.append, self.told.append),
            expect=self.expect,
            limits=self.limits,
            clock=lambda: self.now,
        )

    def stamp(self, store: str) -> Stamp:
        found = self.server.stores.get(store)
        return NO_STAMP if found is None else found.status.stamp

    def begin(self, store: str, entries: Entries) -> None:
        at = self.stamp(store)
        assert self.server.begin(store, at, 0, "host:1", entries, digest(entries)).accepted

    def write(self, store: str, put: Entries, drop: Sequence[bytes] = ()) -> None:
        now = {**self.server.stores[store].entries, **put}
        for key in drop:
            del now[key]
        done = self.server.write(store, self.stamp(store), put, drop, len(now), digest(now))
        assert done.accepted

    def beat(self, *stores: str) -> None:
        for store in stores:
            self.write(store, {})
        self.step()

    def step(self, seconds: float = 0.0) -> float:
        self.now += seconds
        return self.mirror.step()

    def freshen(self, *stores: str) -> None:
        """Let the mirror see what it needs to believe in stores."""
        self.step(1)
        for _ in range(2):
            self.now += APART
            self.beat(*stores)
        self.step(1)


def entry(name: str, status: bytes = b"over") -> dict[bytes, bytes]:
    return {f"{name}@example.org".encode(): status}


def test_a_store_is_listed_after_it_was_written_twice() -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.step()
    assert site.listed == {}
    site.now += 1
    site.beat("a")
    assert site.listed == {}
    site.step(APART)
    assert site.listed == {}
    site.now += 1
    site.beat("a")
    assert site.listed == entry("jane")
    assert site.told == ["store a: fresh, 1 entry"]


def test_two_writes_at_once_are_one_sign_of_life() -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.step()
    site.beat("a")
    site.step(0.2)
    site.beat("a")
    assert site.listed == {}
    site.step(APART)
    site.beat("a")
    assert site.listed == entry("jane")


def test_changes_are_followed_without_reading_everything() -> None:
    site = Site()
    site.begin("a", {**entry("jane"), **entry("joe")})
    site.freshen("a")
    assert site.engine.reads == ["a"]
    site.write("a", {**entry("eve"), **entry("jane", b"near")}, [b"joe@example.org"])
    site.write("a", entry("bob", b"free=12"))
    site.step(0.1)
    assert site.listed == {
        **entry("eve"),
        **entry("jane", b"near"),
        **entry("bob", b"free=12"),
    }
    assert site.engine.reads == ["a"]


def test_a_snapshot_is_read() -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.freshen("a")
    site.begin("a", entry("joe"))
    site.step(0.1)
    assert site.listed == entry("joe")
    assert site.engine.reads == ["a", "a"]


def test_a_store_lapses_without_any_answer_of_the_server() -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.freshen("a")
    site.engine.is_cut = True
    seconds = site.step(LAPSE - 10)
    assert site.listed == entry("jane")
    assert site.mirror.is_alive
    while site.listed:
        assert 0 < seconds <= module.RETRY
        seconds = site.step(seconds)
    assert not site.mirror.is_alive
    assert site.now - 1000 < LAPSE + 5
    assert site.said == [
        "the simulated engine does not answer",
        "store a: nothing was written for 60 seconds; its users are not deferred",
    ]


def test_a_step_is_due_when_the_next_store_lapses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 10_000)
    site = Site()
    site.begin("a", entry("jane"))
    site.freshen("a")
    site.engine.is_cut = True
    assert 0 < site.step(1) <= LAPSE


def test_only_the_store_that_lapses_is_left_out() -> None:
    site = Site(names=("a", "b"))
    site.begin("a", entry("jane"))
    site.begin("b", entry("joe"))
    site.freshen("a", "b")
    for _ in range(8):
        site.now += BEAT
        site.beat("b")
    assert site.listed == entry("joe")
    (a, b) = site.mirror.stores()
    assert (a.name, a.is_fresh, a.age, b.is_fresh) == ("a", False, None, True)
    assert a.problem == "nothing was written for 60 seconds"
    site.freshen("a")
    assert site.listed == {**entry("jane"), **entry("joe")}
    assert "store a: the problem is gone" in site.told


def test_an_older_state_is_not_believed_and_no_sign_of_life() -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.freshen("a")
    old = site.server.copy()
    site.write("a", {}, [b"jane@example.org"])
    site.step(BEAT)
    assert site.listed == {}
    site.server.stores = old
    site.step(LAPSE - 1)
    assert site.listed == {}
    site.step(2)
    assert not site.mirror.is_alive
    # After that it is where the mirror begins again.
    site.freshen("a")
    assert site.listed == entry("jane")


def test_a_hint_of_long_ago_does_not_count() -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.step()
    site.beat("a")
    site.step(LAPSE + 1)
    site.beat("a")
    assert site.listed == {}


@pytest.mark.parametrize("is_change", [False, True])
def test_entries_that_do_not_agree_with_the_digest_are_not_listed(is_change: bool) -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.freshen("a")
    found = site.server.stores["a"]
    gen, seq = found.status.stamp
    stamp = Stamp(gen, seq + 1) if is_change else Stamp(gen + 1, seq + 1)
    site.server.stores["a"] = Store(
        attrs.evolve(found.status, stamp=stamp, entries=2),
        {**found.entries, **entry("evil")},
        {stamp: Change(entry("evil"))},
    )
    site.step(1)
    assert site.listed == entry("jane")
    assert "do not agree with their number and digest" in site.said[0]
    site.step(LAPSE)
    assert site.listed == {}
    site.begin("a", entry("joe"))
    site.step(module.READ_MOST)
    site.freshen("a")
    assert site.listed == entry("joe")


def test_a_store_that_cannot_be_read_is_read_less_and_less_often() -> None:
    """Reading it may be what keeps the server busy."""
    site = Site()
    site.step()
    found = site.server.stores["a"]
    site.server.stores["a"] = attrs.evolve(found, entries=entry("evil"))
    site.restart()
    times = list[float]()
    for _ in range(1000):
        before = len(site.engine.reads)
        site.step(0.1)
        times += [site.now] * (len(site.engine.reads) - before)
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert [round(gap) for gap in gaps[:6]] == [1, 2, 4, 8, 15, 15]
    site.begin("a", entry("joe"))
    site.step(module.READ_MOST)
    site.freshen("a")
    assert site.listed == entry("joe")


@pytest.mark.parametrize("error", [BadStore("store a: is odd"), EngineMisfit("store a: is new")])
def test_one_bad_store_does_not_touch_the_others(error: BadStore) -> None:
    site = Site(names=("a", "b"))
    site.begin("a", entry("jane"))
    site.begin("b", entry("joe"))
    site.freshen("a", "b")
    site.server.stores["a"] = attrs.evolve(site.server.stores["a"], error=error)
    for _ in range(8):
        site.now += BEAT
        site.beat("b")
    assert site.listed == entry("joe")
    assert str(error) in site.said[0]


class Stumbling(Recorded):
    """Does not answer where one store is read."""

    def read(self, store: str) -> Optional[StoreContent]:
        if store == "a":
            raise EngineUnreachable("does not answer in time")
        return super().read(store)


def test_a_store_that_the_server_stumbles_over_does_not_keep_the_others_out() -> None:
    site = Site(names=("a", "b"))
    site.begin("b", entry("joe"))
    site.mirror._engine = Stumbling(site.server)
    for _ in range(6):
        site.beat("b")
        site.now += APART
    assert site.listed == entry("joe")


# Several stores that list one user


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([b"over", b"over"], b"over"),
        ([b"over", b"near"], b"near"),
        ([b"near", b"near"], b"near"),
        ([b"over", b"free=5"], b"near"),
        ([b"near", b"free=5"], b"near"),
        ([b"free=7", b"free=5", b"free=9"], b"free=5"),
    ],
)
def test_the_union_of_statuses_loses_no_mail(statuses: list[bytes], expected: bytes) -> None:
    assert union(statuses) == union(statuses[::-1]) == expected


def test_a_user_of_two_stores() -> None:
    site = Site(names=("a", "b"))
    site.begin("a", entry("jane"))
    site.begin("b", entry("jane", b"free=100"))
    site.freshen("a", "b")
    assert site.listed == entry("jane", b"near")
    assert site.mirror.claimed_twice == 1
    site.write("a", {}, [b"jane@example.org"])
    site.step(0.1)
    assert site.listed == entry("jane", b"free=100")
    assert site.mirror.claimed_twice == 0


# Growth


def many(count: int) -> dict[bytes, bytes]:
    return {b"user%d@" % number: b"over" for number in range(count)}


def test_a_store_that_grows_out_of_proportion_is_held_back_and_lapses() -> None:
    site = Site()
    site.begin("a", many(30))
    site.freshen("a")
    site.begin("a", many(60))
    for _ in range(int(LAPSE / BEAT)):
        site.now += BEAT
        assert len(site.listed) == 30
        site.beat("a")
    site.step(BEAT)
    assert site.listed == {}
    assert "store a: 30 entries would be added to 30" in site.said[0]
    assert "restart cyrusquota-mirror to accept it; what it said before counts" in site.said[0]
    for _ in range(10):
        site.now += BEAT
        site.beat("a")
    assert site.listed == {}
    assert site.said[-1].endswith("to accept it; its users are not deferred")
    site.begin("a", many(36))
    site.freshen("a")
    assert len(site.listed) == 36


def test_a_restart_of_the_mirror_accepts_what_is_there() -> None:
    site = Site()
    site.begin("a", many(30))
    site.freshen("a")
    site.begin("a", many(60))
    site.step(1)
    site.restart()
    site.freshen("a")
    assert len(site.listed) == 60


def test_small_changes_that_grow_out_of_proportion_are_held_back() -> None:
    site = Site()
    site.begin("a", many(30))
    site.freshen("a")
    for number in range(30, 80):
        site.write("a", {b"user%d@" % number: b"over"})
        site.step(0.5)
    assert len(site.listed) == 50
    assert "within" in site.said[0]


def test_a_store_may_shrink_as_it_likes() -> None:
    site = Site()
    site.begin("a", many(1000))
    site.freshen("a")
    site.begin("a", {})
    site.step(1)
    assert site.listed == {}
    assert site.said == []


# Which stores there are


def test_a_new_store_is_found() -> None:
    site = Site()
    site.freshen("a")
    site.begin("b", entry("joe"))
    site.step(module.SEARCH)
    site.freshen("a", "b")
    assert site.listed == entry("joe")


def test_a_store_that_is_gone_is_forgotten_after_it_has_lapsed() -> None:
    site = Site(names=("a", "b"))
    site.begin("a", entry("jane"))
    site.freshen("a", "b")
    del site.server.stores["a"]
    site.step(LAPSE / 2)
    assert site.listed == entry("jane")
    site.step(LAPSE)
    site.step(module.SEARCH)
    assert site.listed == {}
    assert [store.name for store in site.mirror.stores()] == ["b"]


def test_a_store_that_is_gone_is_reported_when_it_lapses() -> None:
    site = Site()
    site.begin("a", entry("jane"))
    site.freshen("a")
    site.server.stores.clear()
    site.step(LAPSE / 2)
    assert (site.listed, site.said) == (entry("jane"), [])
    site.step(LAPSE)
    assert site.listed == {}
    assert site.said == [
        "store a: is not there; nobody has published it; its users are not deferred"
    ]


def test_an_expected_store_that_is_missing_is_reported() -> None:
    site = Site(expect=("a", "b"))
    site.freshen("a")
    assert site.said == [
        "store b: is not there; nobody has published it; its users are not deferred"
    ]
    (_, b) = site.mirror.stores()
    assert (b.name, b.is_expected, b.status) == ("b", True, None)


def test_an_odd_name_cannot_be_expected() -> None:
    with pytest.raises(OptionError, match="store 'a b'"):
        Site(expect=("a b",))


def test_too_many_stores_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STORES", 2)
    site = Site(names=("a", "b", "c"))
    site.step()
    assert site.said == ["3 stores, of which 2 are followed"]
    assert [store.name for store in site.mirror.stores()] == ["a", "b"]


# When a map may be replaced


def settled(site: Site) -> Iterator[bool]:
    yield site.mirror.is_settled
    site.freshen("a")
    yield site.mirror.is_settled


def test_a_map_may_be_replaced_when_all_stores_are_fresh() -> None:
    assert list(settled(Site())) == [False, True]


def test_a_map_may_be_replaced_when_the_others_were_waited_for() -> None:
    site = Site(expect=("a", "b"))
    assert list(settled(site)) == [False, False]
    site.step(LAPSE)
    assert site.mirror.is_settled


class Slow(Recorded):
    """Takes two steps for a search."""

    def stores(self) -> Optional[Sequence[str]]:
        self.reads.append("search")
        return None if self.reads.count("search") < 4 else super().stores()


def test_nothing_is_sure_before_the_first_search_is_complete() -> None:
    site = Site(expect=("a",), names=("a", "b"))
    site.begin("b", entry("joe"))
    site.mirror._engine = Slow(site.server)
    for _ in range(3):
        site.beat("a")
        site.now += APART
    assert site.mirror.is_alive
    assert not site.mirror.is_settled


def test_news_of_a_store_that_is_gone_meanwhile() -> None:
    site = Site()

    class Vanishing(Recorded):
        def read(self, store: str) -> Optional[StoreContent]:
            return None

    site.mirror._engine = Vanishing(site.server)
    site.step()
    assert site.said == [
        "store a: was removed while it was read; nothing has to be done; its users are not deferred"
    ]
    assert site.engine.poll({"x": NO_STAMP}) == {"x": StoreNews()}
