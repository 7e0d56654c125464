"""cyrusquota stores, on an engine in memory that publishers write to."""

from __future__ import annotations

import json
from typing import Any, Optional

import attrs
import pytest

from cyrusquota.cli.engine_options import EngineOptions
from cyrusquota.engine import watch
from cyrusquota.engine.protocol import Stamp, StoreStatus, digest
from cyrusquota.errors import BadStore
from cyrusquota.maps.status import NEAR, OVER
from tests.simulated_engine import Server, SimulatedEngine, Store
from tests.unit.programs import Program, Ran


@attrs.define
class Written(SimulatedEngine):
    """An engine to which the publisher of `store1` writes at every second look."""

    looks: int = 0

    def poll(self, have: Any) -> Any:
        self.looks += 1
        if self.looks == 2 and "store1" in self.server.stores:
            found = self.server.stores["store1"]
            at = found.status.stamp
            self.server.write("store1", at, {}, (), len(found.entries), found.status.digest)
        return super().poll(have)


def _store(holder: str, *keys: bytes, accept: Optional[int] = None) -> Store:
    entries = dict.fromkeys(keys, OVER)
    return Store(StoreStatus(Stamp(3, 7), len(keys), digest(entries), holder, accept), entries)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Written:
    found = Written(
        Server(
            {
                "store1": _store("be1:ab", b"jane@a.org", b"joe@a.org"),
                "store2": _store("be2:cd", b"jane@a.org", b"max@"),
            }
        )
    )
    monkeypatch.setattr(EngineOptions, "opened", lambda self: found)
    monkeypatch.setattr(watch, "LOOK", 0.0)
    return found


def test_each_store_is_shown_with_who_is_in_two(run: Program, engine: Written) -> None:
    shown = run("stores", "--watch", "0.05", "--expect", "store1,store3")
    assert shown.status == 0
    assert shown.out.splitlines() == [
        "STORE   STATE    WRITE  ENTRIES  PUBLISHER",
        "store1  fresh    3-8          2  be1:ab",
        "store2  silent   3-7          2  be2:cd",
        "store3  missing  -            -  -",
        "1 user in more than one store:",
        "  jane@a.org: store1, store2",
    ]


def test_the_object_has_the_same(run: Program, engine: Written) -> None:
    engine.server.stores["bad"] = attrs.evolve(
        _store("x"), error=BadStore("store bad: makes no sense; restart its publisher")
    )
    shown = json.loads(run("stores", "--watch", "0.05", "--format", "json").out)
    assert shown["engine"] == "simulated:"
    assert shown["claimed_twice"] == [{"address": "jane@a.org", "stores": ["store1", "store2"]}]
    assert shown["stores"][0] == {
        "store": "bad",
        "state": "unreadable",
        "gen": None,
        "seq": None,
        "entries": None,
        "publisher": None,
        "accept": None,
        "problem": "store bad: makes no sense; restart its publisher",
    }
    assert shown["stores"][1] == {
        "store": "store1",
        "state": "fresh",
        "gen": 3,
        "seq": 8,
        "entries": 2,
        "publisher": "be1:ab",
        "accept": None,
        "problem": None,
    }


def test_it_ends_as_soon_as_all_are_written(run: Program, engine: Written) -> None:
    del engine.server.stores["store2"]
    assert "store1  fresh" in run("stores", "--watch", "600").out


def test_a_store_is_forgotten(run: Program, engine: Written) -> None:
    assert run("stores", "--forget", "store2") == Ran(
        0, "store store2: removed, with 2 entries\n", ""
    )
    assert sorted(engine.server.stores) == ["store1"]
    assert run("stores", "--forget", "store2").status == 64


def test_a_store_that_is_written_meanwhile_is_not(
    run: Program, engine: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = attrs.evolve(engine.server.stores["store2"].status, stamp=Stamp(3, 6))
    monkeypatch.setattr(Written, "status", lambda self, store: status)
    refused = run("stores", "--forget", "store2")
    assert (refused.status, refused.out) == (64, "")
    assert "be2:cd is writing to it; stop that publisher first" in refused.err
    assert "store2" in engine.server.stores


def test_a_change_is_accepted(run: Program, engine: Written) -> None:
    assert run("stores", "--accept-change", "store1", "500").status == 0
    assert engine.server.stores["store1"].status.accept == 500
    refused = run("stores", "--accept-change", "stor", "500")
    assert refused.status == 64
    assert "the stores in simulated: are: store1, store2" in refused.err


def test_both_at_once_are_refused(run: Program, engine: Written) -> None:
    refused = run("stores", "--forget", "store1", "--accept-change", "store1", "500")
    assert refused.status == 64
    assert engine.server.stores["store1"].status.accept is None


def test_who_is_in_several_stores_is_told_once() -> None:
    stores = {name: _store(name, b"jane@", b"joe@") for name in "abc"}
    del stores["a"].entries[b"joe@"]
    stores["b"].entries[b"jane@"] = NEAR
    found = watch.claims(SimulatedEngine(Server(stores)), ["a", "b", "c", "gone"])
    assert found.by_key == {b"jane@": ["a", "b", "c"], b"joe@": ["b", "c"]}
    assert sorted(found.problems) == ["a", "b"]


def test_entries_that_somebody_else_has_changed_are_noticed(run: Program, engine: Written) -> None:
    engine.server.stores["store2"].entries[b"sue@"] = OVER
    shown = run("stores", "--watch", "0.05").out.splitlines()
    assert shown[2].startswith("store2  unreadable")
    assert shown[3].startswith("store store2: its 3 entries do not agree with their number")
