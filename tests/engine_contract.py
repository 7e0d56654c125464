"""What every engine must answer: the same tests for the simulated one and for real servers."""

from __future__ import annotations

from typing import Iterator, Optional, Sequence

import attrs
import pytest

from cyrusquota.engine.interface import Answer, Engine, StoreNews
from cyrusquota.engine.protocol import (
    HISTORY,
    MAX_CHANGE,
    NO_STAMP,
    Change,
    Entries,
    Stamp,
    StoreStatus,
    digest,
    lines,
)

STORE = "be1"
HOLDER = "backend:0a1b"
SMALL = {b"jane@example.org": b"over", b"joe@": b"near", b"eve@example.net": b"free=1200"}


@attrs.frozen
class Engines:
    """Connections with the rights of a backend, of a mirror and of an administrator."""

    backend: Engine
    mirror: Engine
    administrator: Engine

    def begin(self, entries: Entries, at: Stamp = NO_STAMP, floor: int = 0) -> Answer:
        return self.backend.begin(STORE, at, floor, HOLDER, entries, digest(entries))

    def write(self, at: Stamp, put: Entries, drop: Sequence[bytes], now: Entries) -> Answer:
        return self.backend.write(STORE, at, put, drop, len(now), digest(now))

    def beat(self, at: Stamp, now: Entries = SMALL) -> Answer:
        return self.write(at, {}, (), now)

    def status(self) -> Optional[StoreStatus]:
        return self.mirror.status(STORE)

    def news(self, have: Stamp) -> StoreNews:
        return self.mirror.poll({STORE: have})[STORE]


def status(stamp: Stamp, entries: Entries, accept: Optional[int] = None) -> StoreStatus:
    return StoreStatus(stamp, len(entries), digest(entries), HOLDER, accept)


def many(count: int) -> dict[bytes, bytes]:
    return {b"user%d@example.org" % number: b"free=%d" % number for number in range(count)}


class EngineContract:
    """The tests; a class below it has the fixture `engines`, with no store at the beginning."""

    @pytest.fixture
    def engines(self) -> Iterator[Engines]:
        raise NotImplementedError

    def test_a_store_that_is_not_there(self, engines: Engines) -> None:
        assert engines.status() is None
        assert engines.news(NO_STAMP) == StoreNews()
        assert engines.mirror.read(STORE) is None
        assert engines.beat(Stamp(1, 1)) == Answer(False, None)
        assert engines.administrator.accept(STORE, 10) == Answer(False, None)
        assert engines.administrator.forget(STORE, NO_STAMP) == Answer(False, None)
        assert found(engines.mirror) == []

    def test_a_snapshot(self, engines: Engines) -> None:
        expected = status(Stamp(1, 1), SMALL)
        assert engines.begin(SMALL) == Answer(True, expected)
        assert engines.status() == engines.backend.status(STORE) == expected
        content = engines.mirror.read(STORE)
        assert content is not None
        assert (content.status, content.entries) == (expected, SMALL)
        assert found(engines.mirror) == [STORE]

    def test_a_snapshot_goes_on_from_the_highest_generation(self, engines: Engines) -> None:
        assert engines.begin(SMALL, floor=7) == Answer(True, status(Stamp(8, 1), SMALL))
        assert engines.begin({}, Stamp(8, 1), 3) == Answer(True, status(Stamp(9, 2), {}))
        content = engines.mirror.read(STORE)
        assert content is not None
        assert content.entries == {}

    @pytest.mark.parametrize("expected", [NO_STAMP, Stamp(1, 2), Stamp(2, 1), Stamp(0, 1)])
    def test_a_snapshot_is_refused_at_another_stamp(
        self, engines: Engines, expected: Stamp
    ) -> None:
        engines.begin(SMALL)
        assert engines.begin({}, expected, 5) == Answer(False, status(Stamp(1, 1), SMALL))
        assert engines.status() == status(Stamp(1, 1), SMALL)

    def test_a_snapshot_is_refused_where_the_store_is_gone(self, engines: Engines) -> None:
        assert engines.begin(SMALL, Stamp(1, 1)) == Answer(False, None)

    def test_a_change_and_a_beat(self, engines: Engines) -> None:
        engines.begin(SMALL)
        now = {b"jane@example.org": b"near", b"joe@": b"near", b"new@": b"over"}
        put = {b"jane@example.org": b"near", b"new@": b"over"}
        changed = engines.write(Stamp(1, 1), put, [b"eve@example.net"], now)
        assert changed == Answer(True, status(Stamp(1, 2), now))
        assert engines.beat(Stamp(1, 2), now) == Answer(True, status(Stamp(1, 3), now))
        content = engines.mirror.read(STORE)
        assert content is not None
        assert (content.entries, content.problem(STORE)) == (now, None)

    @pytest.mark.parametrize("at", [NO_STAMP, Stamp(1, 2), Stamp(2, 1), Stamp(1, 0)])
    def test_a_change_is_refused_at_another_stamp(self, engines: Engines, at: Stamp) -> None:
        engines.begin(SMALL)
        refused = engines.write(at, {b"new@": b"over"}, (), {**SMALL, b"new@": b"over"})
        assert refused == Answer(False, status(Stamp(1, 1), SMALL))
        content = engines.mirror.read(STORE)
        assert content is not None
        assert content.entries == SMALL

    def test_a_change_is_refused_if_it_would_leave_another_number(self, engines: Engines) -> None:
        engines.begin(SMALL)
        refused = engines.write(Stamp(1, 1), {b"new@": b"over"}, [b"joe@"], {})
        assert refused == Answer(False, status(Stamp(1, 1), SMALL))
        refused = engines.write(Stamp(1, 1), {}, [b"nobody@"], {**SMALL, b"new@": b"over"})
        assert refused == Answer(False, status(Stamp(1, 1), SMALL))
        assert engines.news(Stamp(1, 1)) == StoreNews(status(Stamp(1, 1), SMALL), ())
        content = engines.mirror.read(STORE)
        assert content is not None
        assert content.entries == SMALL

    def test_news(self, engines: Engines) -> None:
        engines.begin(SMALL)
        assert engines.news(Stamp(1, 1)) == StoreNews(status(Stamp(1, 1), SMALL), ())
        now = {**SMALL, b"new@": b"over"}
        engines.write(Stamp(1, 1), {b"new@": b"over"}, (), now)
        engines.beat(Stamp(1, 2), now)
        engines.write(Stamp(1, 3), {}, [b"new@"], SMALL)
        changes = (Change({b"new@": b"over"}), Change(), Change({}, (b"new@",)))
        latest = status(Stamp(1, 4), SMALL)
        assert engines.news(Stamp(1, 1)) == StoreNews(latest, changes)
        assert engines.news(Stamp(1, 3)) == StoreNews(latest, changes[2:])

    @pytest.mark.parametrize("have", [NO_STAMP, Stamp(1, 0), Stamp(1, 9), Stamp(2, 2), Stamp(0, 2)])
    def test_news_that_cannot_be_told(self, engines: Engines, have: Stamp) -> None:
        engines.begin(SMALL)
        engines.beat(Stamp(1, 1))
        assert engines.news(have) == StoreNews(status(Stamp(1, 2), SMALL), None)

    def test_a_snapshot_cannot_be_told_as_a_change(self, engines: Engines) -> None:
        engines.begin(SMALL)
        engines.beat(Stamp(1, 1))
        engines.begin({}, Stamp(1, 2))
        assert engines.news(Stamp(1, 2)) == StoreNews(status(Stamp(2, 3), {}), None)
        engines.beat(Stamp(2, 3), {})
        assert engines.news(Stamp(2, 3)) == StoreNews(status(Stamp(2, 4), {}), (Change(),))

    def test_only_the_last_changes_are_kept(self, engines: Engines) -> None:
        engines.begin(SMALL)
        for number in range(HISTORY + 1):
            assert engines.beat(Stamp(1, 1 + number)).accepted
        assert engines.news(Stamp(1, 1)).changes is None
        assert engines.news(Stamp(1, 2)).changes == (Change(),) * HISTORY

    def test_a_large_change_is_not_kept(self, engines: Engines) -> None:
        put = many(3000)
        assert len(lines(put)) > MAX_CHANGE
        engines.begin({})
        engines.write(Stamp(1, 1), put, (), put)
        assert engines.news(Stamp(1, 1)) == StoreNews(status(Stamp(1, 2), put), None)
        engines.beat(Stamp(1, 2), put)
        assert engines.news(Stamp(1, 2)).changes == (Change(),)

    def test_news_of_several_stores(self, engines: Engines) -> None:
        engines.begin(SMALL)
        names = [f"nobody{number}" for number in range(120)]
        news = engines.mirror.poll({**dict.fromkeys(names, NO_STAMP), STORE: Stamp(1, 1)})
        assert news[STORE] == StoreNews(status(Stamp(1, 1), SMALL), ())
        assert all(news[name] == StoreNews() for name in names)

    def test_a_large_store(self, engines: Engines) -> None:
        entries = many(20_000)
        assert engines.begin(entries).accepted
        content = engines.mirror.read(STORE)
        assert content is not None
        assert (content.entries, content.problem(STORE)) == (entries, None)
        del entries[b"user7@example.org"]
        assert engines.write(Stamp(1, 1), {}, [b"user7@example.org"], entries).accepted
        assert engines.begin(SMALL, Stamp(1, 2)).accepted
        assert engines.mirror.read(STORE) is not None

    def test_any_address(self, engines: Engines) -> None:
        entries = {
            "jane@b\u00fccher.example".encode(): b"over",
            b"!#$%&'*/=?^_`{|}~.-+@a": b"near",
            b"x@" + b"d" * 500: b"free=999999999999999999",
        }
        engines.begin(entries)
        content = engines.mirror.read(STORE)
        assert content is not None
        assert content.entries == entries

    def test_what_is_accepted_is_for_one_change(self, engines: Engines) -> None:
        engines.begin(SMALL)
        accepted = status(Stamp(1, 1), SMALL, 40)
        assert engines.administrator.accept(STORE, 40) == Answer(True, accepted)
        assert engines.status() == accepted
        assert engines.beat(Stamp(1, 1)).status == status(Stamp(1, 2), SMALL, 40)
        now = {**SMALL, b"new@": b"over"}
        changed = engines.write(Stamp(1, 2), {b"new@": b"over"}, (), now)
        assert changed.status == status(Stamp(1, 3), now)

    def test_a_snapshot_takes_what_is_accepted(self, engines: Engines) -> None:
        engines.begin(SMALL)
        engines.administrator.accept(STORE, 40)
        assert engines.begin({}, Stamp(1, 1)).status == status(Stamp(2, 2), {})

    def test_a_store_is_forgotten(self, engines: Engines) -> None:
        engines.begin(SMALL)
        refused = engines.administrator.forget(STORE, Stamp(1, 2))
        assert refused == Answer(False, status(Stamp(1, 1), SMALL))
        assert engines.administrator.forget(STORE, Stamp(1, 1)) == Answer(True, None)
        assert engines.status() is None
        assert engines.mirror.read(STORE) is None
        assert engines.beat(Stamp(1, 1)) == Answer(False, None)
        assert engines.begin(SMALL, floor=1) == Answer(True, status(Stamp(2, 1), SMALL))


def found(engine: Engine) -> list[str]:
    """Return what a search finds that begins now."""
    engine.stores()
    names = engine.stores()
    assert names is not None
    return list(names)
