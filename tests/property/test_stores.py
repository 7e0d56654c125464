"""Publishers and a mirror agree in the end, and list nobody too long, whatever happens between."""

from __future__ import annotations

from typing import Any, Callable, Optional

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cyrusquota.engine.interface import Answer
from cyrusquota.engine.mirror import Mirror
from cyrusquota.engine.protocol import LAPSE, NO_STAMP, Entries, Stamp, StoreStatus
from cyrusquota.engine.publisher import StorePublisher
from tests.simulated_engine import Server
from tests.store_hosts import DELAYS, NAMES, STALE, Host, Network, entry

HOSTS = st.integers(0, 5)
History = Callable[[Network], None]


class Stores(RuleBasedStateMachine):
    """What can happen, in any order."""

    @initialize()
    def begin(self) -> None:
        self.network = Network()

    def host(self, number: int) -> Host:
        return self.network.hosts[number % len(self.network.hosts)]

    @rule(ticks=st.integers(1, 6))
    def time(self, ticks: int) -> None:
        self.network.tick(ticks)

    @rule(ticks=st.integers(8, 40))
    def long_time(self, ticks: int) -> None:
        self.network.tick(ticks)

    @rule(number=HOSTS, name=st.sampled_from("xyz"), is_full=st.booleans())
    def change(self, number: int, name: str, is_full: bool) -> None:
        full = self.host(number).full
        (full.add if is_full else full.discard)(name)

    @rule(number=HOSTS, delay=st.sampled_from(DELAYS), last=st.booleans(), ticks=st.integers(1, 3))
    def requests_are_stuck(self, number: int, delay: int, last: bool, ticks: int) -> None:
        self.network.stick(self.host(number), delay, last, ticks)

    @rule(number=HOSTS)
    def publisher_is_cut_off_or_not(self, number: int) -> None:
        engine = self.host(number).engine
        engine.is_cut = not engine.is_cut

    @rule()
    def mirror_is_cut_off_or_not(self) -> None:
        self.network.mirror_engine.is_cut = not self.network.mirror_engine.is_cut

    @rule()
    def server_stops_or_starts(self) -> None:
        self.network.server.is_up = not self.network.server.is_up

    @rule(number=HOSTS)
    def publisher_dies(self, number: int) -> None:
        self.host(number).is_alive = False

    @rule(number=HOSTS)
    def publisher_restarts(self, number: int) -> None:
        self.network.restart_host(self.host(number))

    @rule(name=st.sampled_from(NAMES), full=st.sets(st.sampled_from("xyz")))
    def second_publisher(self, name: str, full: set[str]) -> None:
        if len(self.network.hosts) < 4:
            self.network.add_host(name, full)

    @rule(ago=st.integers(1, 50))
    def old_replica_takes_over(self, ago: int) -> None:
        self.network.fail_over(ago)

    @rule()
    def server_loses_everything(self) -> None:
        self.network.lose_everything()

    @rule()
    def mirror_restarts(self) -> None:
        self.network.restart_mirror()

    @rule()
    def all_is_well_again(self) -> None:
        self.network.heal()


def test_any_history() -> None:
    run_state_machine_as_test(Stores, settings=settings(settings.default, stateful_step_count=30))


# Histories that random search hardly finds


def zombie(network: Network) -> None:
    """A request of a dead publisher is carried out long after that, before the mirror looks."""
    first = network.hosts[0]
    first.full.add("x")
    network.tick(8)
    network.stick(first, 1)
    first.is_alive = False
    network.server.is_up = False
    network.tick(STALE + 4)
    network.server.is_up = True
    network.tick(6)


def zombie_seen_late(network: Network) -> None:
    """The same, after the mirror has looked: it sees one sign of life."""
    first = network.hosts[0]
    first.full.add("x")
    network.tick(8)
    network.stick(first, 1, is_last=True, ticks=3)
    first.is_alive = False
    network.server.is_up = False
    network.tick(STALE + 4)
    network.server.is_up = True
    network.tick(6)


def old_replica(network: Network) -> None:
    """The publisher is dead, and what it said becomes the state again."""
    first = network.hosts[0]
    first.full.add("x")
    network.tick(8)
    first.is_alive = False
    network.tick(STALE + 2)
    network.fail_over(STALE + 4)
    network.tick(6)


def removed_key(network: Network) -> None:
    """A user has room again, and an old state that lists them becomes the state again."""
    first = network.hosts[0]
    first.full.add("x")
    network.tick(8)
    first.full.discard("x")
    network.tick(STALE + 4)
    first.engine.is_cut = True
    network.tick()
    network.fail_over(STALE + 6)
    network.tick(6)


def late_snapshot(network: Network) -> None:
    """The first request of a dead publisher reaches a store that another one has taken over."""
    first = network.hosts[0]
    first.full.add("x")
    network.stick(first, STALE + 2)
    first.is_alive = False
    network.add_host(first.name, {"y"})
    network.tick(STALE + 8)
    network.heal()


def two_publishers(network: Network) -> None:
    """One store, two publishers who are both alive."""
    network.hosts[0].full.add("x")
    network.add_host(network.hosts[0].name, {"y"})
    network.heal()


def survivor(network: Network) -> None:
    """The newer of two publishers dies; the other one, which it has fenced, comes back."""
    network.hosts[0].full.add("x")
    network.tick(8)
    newer = network.add_host(network.hosts[0].name, {"y"})
    network.tick(8)
    newer.is_alive = False
    network.heal()
    assert set(network.listed) == {entry("x")}


def emptied_and_restarted(network: Network) -> None:
    """The server loses everything, and the publisher forgets what it had written."""
    network.hosts[0].full.add("x")
    network.tick(40)
    network.lose_everything()
    network.restart_host(network.hosts[0])
    network.heal()


HISTORIES = (
    zombie,
    zombie_seen_late,
    old_replica,
    removed_key,
    late_snapshot,
    two_publishers,
    survivor,
    emptied_and_restarted,
)


@pytest.mark.parametrize("history", HISTORIES)
def test_a_directed_history(history: History) -> None:
    network = Network()
    history(network)
    network.heal()


# Rules that are too simple must fail: the histories can tell


class AnyChange(Mirror):
    """Takes every other stamp for a sign of life."""

    def _is_new(self, store: Any, stamp: Stamp) -> bool:
        return bool(stamp != store.stamp)

    def _note_rise(self, store: Any, before: Optional[Stamp], now: float) -> None:
        if before is not None:
            self._note_life(store, now)

    def _lapse(self, now: float) -> None:
        stamps = {name: store.stamp for name, store in self._stores.items()}
        super()._lapse(now)
        for name, store in self._stores.items():
            store.stamp = stamps[name]


class OneBeat(Mirror):
    """Is content with one sign of life after a lapse."""

    def _note_rise(self, store: Any, before: Optional[Stamp], now: float) -> None:
        if before is not None and store.stamp > before:
            self._note_life(store, now)


class BlindBegin(Server):
    """Takes a snapshot whatever is there."""

    def begin(
        self, store: str, expected: Stamp, floor: int, holder: str, entries: Entries, digest: int
    ) -> Answer:
        status = self._status(store)
        stamp = NO_STAMP if status is None else status.stamp
        return super().begin(store, stamp, floor, holder, entries, digest)


class Takeover(StorePublisher):
    """Takes a store back after a while, without a look at the publisher that has it."""

    def _watch(self, fenced: Any, now: float) -> None:
        self._not_before = now
        if now - fenced.since > LAPSE:
            self._fenced = None

    def _is_taken(self, status: Optional[StoreStatus]) -> bool:
        return False


@attrs.frozen
class Naive:
    """A rule, and the history that it fails in."""

    history: History
    mirror: type[Mirror] = Mirror
    server: type[Server] = Server
    publisher: type[StorePublisher] = StorePublisher


@pytest.mark.parametrize(
    ("naive", "reason"),
    [
        (Naive(zombie, mirror=AnyChange), "nobody names them"),
        (Naive(old_replica, mirror=AnyChange), "nobody names them"),
        (Naive(removed_key, mirror=AnyChange), "nobody names them"),
        (Naive(zombie_seen_late, mirror=OneBeat), "nobody names them"),
        (Naive(late_snapshot, server=BlindBegin), "nobody names them"),
        (Naive(two_publishers, publisher=Takeover), "from each other"),
    ],
)
def test_a_naive_rule_fails(naive: Naive, reason: str) -> None:
    class Changed(Network):
        publisher_class = naive.publisher
        mirror_class = naive.mirror
        server_class = naive.server

    with pytest.raises(AssertionError, match=reason):
        naive.history(Changed())
