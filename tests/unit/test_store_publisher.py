"""What a publisher writes, what it holds back, and what it does when requests fail."""

from __future__ import annotations

from typing import Callable, Iterable, Optional

import attrs
import pytest

from cyrusquota.engine import publisher as module
from cyrusquota.engine.interface import Answer
from cyrusquota.engine.protocol import (
    BATCH,
    BEAT,
    LAPSE,
    Change,
    Entries,
    Stamp,
    StoreStatus,
    digest,
)
from cyrusquota.engine.publisher import EARLY_BEATS, StorePublisher
from cyrusquota.errors import BadStore, EngineUnreachable
from cyrusquota.follow.notices import Notices
from cyrusquota.publish.guard import Limit, Limits
from tests.simulated_engine import Server, SimulatedEngine, Store

STORE = "be1"


class Backend:
    """A publisher with a clock and what it has reported."""

    engine_class: type[SimulatedEngine] = SimulatedEngine

    def __init__(
        self, server: Optional[Server] = None, holder: str = "host:1", **limits: Limit
    ) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        self.told: list[str] = []
        self.engine = self.engine_class(server or Server())
        self.publisher = StorePublisher(
            self.engine,
            STORE,
            notices=Notices(self.said.append, self.told.append),
            holder=holder,
            limits=Limits(limits.get("added"), limits.get("removed")),
            clock=lambda: self.now,
        )

    @property
    def store(self) -> Store:
        return self.engine.server.stores[STORE]

    @property
    def stamp(self) -> Stamp:
        return self.store.status.stamp

    def publish(self, *names: str, status: bytes = b"over") -> None:
        self.publisher.publish(entries(*names, status=status))
        self.publisher.step()

    def run(self, seconds: float) -> list[float]:
        """Let time pass; return when something was written."""
        end, written = self.now + seconds, []
        while self.now < end:
            before = self.engine.server.stores.get(STORE)
            step = self.publisher.step()
            if self.engine.server.stores.get(STORE) is not before:
                written.append(self.now)
            self.now += max(step, 0.01)
        self.now = end
        return written


def entries(*names: str, status: bytes = b"over") -> dict[bytes, bytes]:
    return {f"{name}@example.org".encode(): status for name in names}


def many(count: int) -> list[str]:
    return [f"user{number}" for number in range(count)]


def test_the_first_write_is_a_snapshot_with_everything() -> None:
    backend = Backend()
    backend.publish("jane", "joe")
    assert backend.stamp == Stamp(1, 1)
    assert backend.store.entries == entries("jane", "joe")
    assert backend.store.status.holder == "host:1"
    assert backend.store.status.digest == digest(entries("jane", "joe"))
    assert backend.publisher.summary == "store be1: 2 entries published"


def test_nothing_is_written_before_something_is_known() -> None:
    backend = Backend()
    assert backend.run(100) == []
    assert backend.publisher.summary == "store be1: not published at present"


def test_a_change_is_written_after_the_batch_and_a_beat_is_without_content() -> None:
    backend = Backend()
    backend.publish("jane", "joe")
    backend.run(100)
    backend.publisher.publish(entries("jane", "eve"))
    begun, stamp = backend.now, backend.stamp
    (written, *_) = backend.run(2 * BEAT)
    assert written - begun <= BATCH
    assert backend.store.entries == entries("jane", "eve")
    assert backend.store.history[Stamp(1, stamp.seq + 1)].put == entries("eve")  # type: ignore[union-attr]
    assert backend.store.history[Stamp(1, stamp.seq + 1)].drop == (b"joe@example.org",)  # type: ignore[union-attr]
    assert backend.store.history[Stamp(1, stamp.seq + 2)] == Change()


def test_changes_come_in_batches_and_beats_at_their_time() -> None:
    backend = Backend()
    backend.publish("jane")
    early = backend.run(2 * BEAT)
    assert [round(at - 1000, 2) for at in early] == [1.5, 3.0, 13.0]
    assert len(early) == EARLY_BEATS + 1
    beats = backend.run(10 * BEAT)
    assert len(beats) == 10
    for number in range(8):
        backend.publisher.publish(entries(f"user{number}"))
        backend.now += BATCH / 8
        backend.publisher.step()
    assert backend.stamp.seq - len(early) - len(beats) - 1 <= 2


def test_only_the_keys_that_are_named_are_looked_at() -> None:
    backend = Backend()
    backend.publish("jane")
    backend.publisher.publish(entries("joe", "eve"), [b"joe@example.org"])
    backend.run(1)
    assert backend.store.entries == entries("jane", "joe")
    backend.publisher.publish(entries("joe", "eve"))
    backend.run(1)
    assert backend.store.entries == entries("joe", "eve")


def test_a_change_that_is_taken_back_is_not_written() -> None:
    backend = Backend()
    backend.publish("jane")
    backend.publisher.publish(entries("joe"))
    backend.publisher.publish(entries("jane"))
    backend.run(1)
    assert backend.stamp == Stamp(1, 1)


def test_without_a_source_nothing_is_written() -> None:
    backend = Backend()
    backend.publish("jane")
    backend.publisher.suspend()
    assert backend.run(200) == []
    backend.publish("jane")
    assert backend.stamp == Stamp(1, 2)


def test_addresses_that_no_map_can_have_are_left_out_and_reported() -> None:
    backend = Backend()
    backend.publisher.publish({**entries("jane"), b"a b@example.org": b"over", b"nobody": b"over"})
    backend.publisher.step()
    assert backend.store.entries == entries("jane")
    assert len(backend.said) == 1
    assert "2 users left out, whose address no mail can have" in backend.said[0]
    assert "'a b@example.org'" in backend.said[0]
    backend.publish("jane")
    assert backend.told[-1] == "store be1: addresses: the problem is gone"


# Another publisher


def test_a_newer_publisher_takes_over_and_the_older_one_waits_for_its_silence() -> None:
    old = Backend()
    old.publish("jane")
    new = Backend(old.engine.server, "host:2")
    new.publish("joe")
    assert new.stamp == Stamp(2, 2)
    for _ in range(100):
        old.run(5)
        new.now = old.now
        new.publisher.step()
    assert old.store.status.holder == "host:2"
    assert old.publisher.summary == "store be1: another publisher has it"
    assert [line for line in old.said if "has taken it over, host:2" in line] == old.said
    silent = old.now
    (written, *_) = old.run(2 * LAPSE)
    assert LAPSE < written - silent < LAPSE + 10
    assert old.store.status.holder == "host:1"
    assert old.stamp.gen == 3


def test_time_without_an_answer_is_no_silence() -> None:
    old = Backend()
    old.publish("jane")
    Backend(old.engine.server, "host:2").publish("joe")
    old.run(BEAT)
    old.engine.is_cut = True
    old.run(3 * LAPSE)
    old.engine.is_cut = False
    assert old.run(LAPSE - 5) == []
    assert old.run(20) != []


class Racing(SimulatedEngine):
    """Lets another publisher write before the first two snapshots get there."""

    def __init__(self, server: Server, old: Backend) -> None:
        super().__init__(server)
        self.old, self.races = old, 2

    def begin(
        self, store: str, expected: Stamp, floor: int, holder: str, entries: Entries, digest: int
    ) -> Answer:
        if self.races:
            self.races -= 1
            self.old.now += BEAT
            self.old.publisher.step()
        return super().begin(store, expected, floor, holder, entries, digest)


def test_a_publisher_takes_over_from_one_that_is_writing_all_the_time() -> None:
    """Its snapshot is refused at first: the stamp has changed since it was read."""
    old = Backend()
    old.publish("jane")
    new = Backend(old.engine.server, "host:2")
    racing = Racing(old.engine.server, old)
    new.publisher._engine = racing
    new.publish("joe")
    assert racing.races == 0
    assert new.store.status.holder == "host:2"


def test_a_store_of_another_publisher_that_is_gone_is_written_again() -> None:
    backend = Backend()
    backend.publish("jane")
    backend.engine.server.stores.clear()
    backend.run(2)
    assert backend.stamp == Stamp(2, 1)
    assert backend.store.entries == entries("jane")


def test_an_older_state_is_written_over() -> None:
    backend = Backend()
    backend.publish("jane")
    old = backend.engine.server.copy()
    backend.run(3 * BEAT)
    backend.engine.server.stores = old
    backend.publish("jane", "joe")
    backend.run(2)
    assert backend.store.entries == entries("jane", "joe")
    assert backend.stamp.gen == 2


def test_a_damaged_store_is_written_over() -> None:
    backend = Backend()
    backend.publisher._engine = Damaged(backend.engine.server)
    backend.publish("jane")
    assert backend.store.entries == entries("jane")


class Damaged(SimulatedEngine):
    """Cannot say what a store says of itself."""

    def status(self, store: str) -> Optional[StoreStatus]:
        raise BadStore("damaged")


def test_entries_that_somebody_else_wrote_are_written_over() -> None:
    backend = Backend()
    backend.publish("jane")
    foreign = {**backend.store.entries, **entries("evil")}
    backend.engine.server.stores[STORE] = attrs.evolve(backend.store, entries=foreign)
    backend.run(BEAT)
    assert backend.store.entries == entries("jane")


# Requests that fail


class Unsure(SimulatedEngine):
    """Carries out what it says has failed."""

    fails = False

    def _reach(self, request: Optional[object] = None) -> None:
        pass

    def write(self, *arguments: object) -> Answer:
        answer = super().write(*arguments)  # type: ignore[arg-type]
        if self.fails:
            raise EngineUnreachable("too late")
        return answer

    def begin(self, *arguments: object) -> Answer:
        answer = super().begin(*arguments)  # type: ignore[arg-type]
        if self.fails:
            raise EngineUnreachable("too late")
        return answer


def unsure() -> tuple[Backend, Unsure]:
    backend = Backend()
    engine = Unsure(backend.engine.server)
    backend.engine = engine
    backend.publisher._engine = engine
    return backend, engine


def test_a_snapshot_that_was_carried_out_is_not_written_again() -> None:
    backend, engine = unsure()
    engine.fails = True
    backend.publish("jane")
    assert backend.publisher.summary == "store be1: not published at present"
    engine.fails = False
    backend.run(1)
    assert backend.stamp == Stamp(1, 1)
    assert backend.publisher.summary == "store be1: 1 entry published"


def test_a_change_that_was_carried_out_is_not_written_again() -> None:
    backend, engine = unsure()
    backend.publish("jane")
    engine.fails = True
    backend.now += BEAT
    backend.publish("joe")
    engine.fails = False
    backend.publish("joe", "eve")
    backend.run(1)
    assert backend.stamp.gen == 1
    assert backend.store.entries == entries("joe", "eve")
    assert backend.store.status.digest == digest(backend.store.entries)


def test_a_change_that_was_carried_out_and_is_not_right_any_more_is_taken_back() -> None:
    backend, engine = unsure()
    backend.publish("jane", "joe", status=b"free=9")
    engine.fails = True
    backend.now += BEAT
    backend.publisher.publish({**entries("jane", status=b"free=5"), **entries("eve")})
    backend.publisher.step()
    assert backend.store.entries == {**entries("jane", status=b"free=5"), **entries("eve")}
    engine.fails = False
    backend.publish("jane", "joe", status=b"free=9")
    backend.run(1)
    assert backend.store.entries == entries("jane", "joe", status=b"free=9")
    assert backend.stamp == Stamp(1, 3)
    assert backend.store.status.digest == digest(backend.store.entries)


def test_a_change_that_was_not_carried_out_leads_to_a_snapshot() -> None:
    backend = Backend()
    backend.publish("jane")
    backend.engine.is_cut = True
    backend.run(BEAT)
    assert backend.said == ["the simulated engine does not answer"]
    backend.engine.is_cut = False
    backend.publish("joe")
    backend.run(1)
    assert backend.stamp.gen == 2
    assert backend.store.entries == entries("joe")
    assert "engine: the problem is gone" in backend.told


def test_an_own_request_that_was_late_is_no_other_publisher() -> None:
    backend = Backend()
    backend.publish("jane")
    late: list[Callable[[], object]] = []
    backend.engine.late = late
    backend.now += BEAT
    backend.publish("joe")
    backend.run(2)
    backend.engine.late = None
    for request in late:
        request()
    backend.run(2)
    assert backend.store.entries == entries("joe")
    assert not any("another publisher" in line for line in backend.said)


# The guard


def test_an_implausible_change_is_held_back_and_the_store_lapses() -> None:
    backend = Backend(added=Limit(20, 20))
    backend.publish(*many(10))
    stamp = backend.stamp
    backend.publisher.publish(entries(*many(40)))
    assert backend.run(LAPSE) == []
    assert backend.stamp == stamp
    assert len(backend.said) == 1
    assert (
        "store be1: 30 entries would be added to 10 and 0 removed, more than --max-change"
        " added=20%,20 allows; check the quota database, or accept up to 30 changes once:"
        " `cyrusquota stores --accept-change be1 30`; nothing is published meanwhile"
    ) in backend.said[0]


def test_what_is_held_back_can_be_taken_back() -> None:
    backend = Backend(added=Limit(20, 20))
    backend.publish(*many(10))
    backend.publish(*many(40))
    backend.run(LAPSE)
    backend.publish(*many(12))
    backend.run(6)
    assert len(backend.store.entries) == 12
    assert backend.told[-1] == "store be1: the problem is gone"


@pytest.mark.parametrize(("accepted", "expected"), [(29, 10), (30, 40), (1000, 40)])
def test_an_administrator_accepts_so_many_changes(accepted: int, expected: int) -> None:
    backend = Backend(added=Limit(20, 20))
    backend.publish(*many(10))
    backend.publish(*many(40))
    backend.engine.accept(STORE, accepted)
    backend.run(LAPSE)
    assert len(backend.store.entries) == expected
    assert (backend.store.status.accept is None) == (expected == 40)
    if expected == 40:
        # From then on the limits are for changes of that.
        backend.publish(*many(48))
        backend.run(6)
        assert len(backend.store.entries) == 48


def test_many_small_changes_are_held_back_too() -> None:
    backend = Backend(added=Limit(20, 20))
    backend.publish(*many(10))
    for count in range(11, 60):
        backend.publish(*many(count))
        backend.run(1)
    assert len(backend.store.entries) == 30
    assert any("within 1 minute, more than" in line for line in backend.said)


def test_after_a_restart_the_change_is_compared_with_the_store() -> None:
    before = Backend(added=Limit(20, 20))
    before.publish(*many(10))
    after = Backend(before.engine.server, "host:2", added=Limit(20, 20))
    after.publish(*many(40))
    assert after.run(30) == []
    assert len(after.store.entries) == 10
    after.engine.accept(STORE, 30)
    after.run(6)
    assert len(after.store.entries) == 40


def test_nothing_to_compare_with_lets_everything_pass() -> None:
    backend = Backend(added=Limit(20, 20))
    backend.publish(*many(1000))
    assert len(backend.store.entries) == 1000


def test_an_emptied_server_does_not_let_everything_pass() -> None:
    backend = Backend(added=Limit(20, 20))
    backend.publish(*many(10))
    backend.engine.server.stores.clear()
    backend.publish(*many(40))
    backend.run(30)
    assert STORE not in backend.engine.server.stores
    backend.publish(*many(11))
    backend.run(6)
    assert len(backend.store.entries) == 11


def test_a_source_without_roots_is_held_back() -> None:
    backend = Backend()
    backend.publish("jane")
    backend.publisher.publish({}, roots=0)
    assert backend.run(30) == []
    assert (
        "its source has no quota roots; check the quota database, or accept up to 1 changes"
        in (backend.said[0])
    )
    backend.engine.accept(STORE, 1)
    backend.run(6)
    assert backend.store.entries == {}


def test_more_than_a_store_can_have_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    backend = Backend()
    backend.publish(*many(4))
    assert STORE not in backend.engine.server.stores
    assert "its 4 entries are more than a store can have, which are 3 entries" in backend.said[0]
    backend.publish(*many(3))
    backend.run(6)
    assert len(backend.store.entries) == 3


def test_a_server_that_takes_what_was_not_asked_for_is_no_stamp() -> None:
    """A refusal without a status: the store is read again."""
    backend = Backend()
    backend.publisher._engine = Refusing(backend.engine.server)
    backend.publish("jane")
    backend.run(3)
    assert backend.stamp == Stamp(2, 2)


class Refusing(SimulatedEngine):
    """Refuses every change, and does not say what is there."""

    def write(
        self, store: str, at: Stamp, put: Entries, drop: Iterable[bytes], n: int, digest: int
    ) -> Answer:
        return Answer(False, None)
