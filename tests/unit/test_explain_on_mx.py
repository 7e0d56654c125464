"""explain --mirror: one user on an MX."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Optional

import pytest

from cyrusquota.cli.engine_options import EngineOptions
from cyrusquota.engine import report
from cyrusquota.engine.protocol import NO_STAMP, digest
from cyrusquota.engine.report import MirrorReport, StoreReport
from cyrusquota.maps import FORMATS, Entry, MapHeader, document
from cyrusquota.maps.status import NEAR, OVER, free
from tests.simulated_engine import Server, SimulatedEngine
from tests.unit.programs import Program, program

DEFERRED = b":defer: 4.2.2 Full"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedEngine:
    """An engine with two stores, and the map and the report of a mirror on this host."""
    monkeypatch.chdir(tmp_path)
    server = Server()
    for name, entries in (
        ("store1", {b"jane@a.org": OVER, b"max@a.org": free(7)}),
        ("store2", {b"jane@a.org": NEAR, b"joe@": OVER}),
    ):
        server.begin(name, NO_STAMP, 0, "be:1", entries, digest(entries))
    found = SimulatedEngine(server)
    monkeypatch.setattr(EngineOptions, "opened", lambda self: found)
    _mirrored({b"jane@a.org": DEFERRED, b"max@a.org": b"free=7"}, "fresh", "lapsed")
    return found


def _mirrored(entries: dict[bytes, bytes], *states: str) -> None:
    header = MapHeader("simulated:", stores=1)
    listed = [Entry(*one) for one in sorted(entries.items())]
    Path("map").write_bytes(document(FORMATS["lsearch"], listed, header))
    stores = [
        StoreReport(f"store{number}", state, True, _silence(state), 1, "be:1", None)
        for number, state in enumerate(states, 1)
    ]
    seen = MirrorReport("simulated:", time.time(), 0, 0, stores)
    Path(report.place("map")).write_bytes(seen.content())


def _silence(state: str) -> Optional[float]:
    return 3.0 if state == "fresh" else None


@pytest.fixture
def run(
    engine: SimulatedEngine,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Program:
    return program(capfdbinary, monkeypatch, "explain", "--mirror", "--no-exim", "--map", "map")


@pytest.mark.parametrize("asked", ["jane@a.org", "Jane+folder@A.org", "jane"])
def test_the_stores_that_list_a_user_are_named(run: Program, asked: str) -> None:
    assert run(asked).out.splitlines() == [
        f"{asked}: the map lists them as full, because of store1",
        "",
        "map map: says :defer: 4.2.2 Full; renewed 0 s ago",
        "store store1: jane@a.org is full; fresh, written 3 s before the mirror reported",
        "store store2: jane@a.org is nearly full; lapsed, so it does not count",
    ]


def test_what_a_store_says_that_lapsed_does_not_count(run: Program) -> None:
    first = run("joe@b.org").out.splitlines()[0]
    assert first == "joe@b.org: mail is accepted, as far as quotas go, though store2 lists them"


def test_who_is_near_the_limit_gets_what_fits(run: Program) -> None:
    lines = run("max@a.org").out.splitlines()
    assert lines[0] == "max@a.org: mail is accepted that fits into what is left, because of store1"
    assert "store store1: max@a.org is near the limit, with 7 bytes left" in lines[3]


def test_a_user_of_another_domain_is_another_user(run: Program) -> None:
    assert run("jane@b.org").out.startswith("jane@b.org: mail is accepted, as far as quotas go\n")


def test_an_old_map_is_ignored(run: Program) -> None:
    os.utime("map", (time.time() - 500, time.time() - 500))
    assert "a router with a maximum age of 300 s ignores it" in run("jane@a.org").out


def test_without_the_engine_the_map_and_the_mirror_tell_what_they_know(
    run: Program, engine: SimulatedEngine
) -> None:
    engine.is_cut = True
    shown = run("jane@a.org")
    assert shown.status == 0
    assert shown.out.startswith("jane@a.org: the map lists them as full\n")
    assert "store store1: not asked; fresh" in shown.out
    assert "the simulated engine does not answer" in shown.out


def test_a_store_that_cannot_be_read_is_said(run: Program, engine: SimulatedEngine) -> None:
    Path("map").unlink()
    Path("map.stores").unlink()
    shown = run("jane@a.org")
    assert shown.status == 0
    assert "store store1: jane@a.org is full; the mirror of this host does not know it" in shown.out
    assert "map: there is no map" in shown.out
    assert "there is no report of a mirror" in shown.out


def test_the_object_has_the_same(run: Program) -> None:
    shown = json.loads(run("--format", "json", "jane@a.org").out)
    assert shown["map"]["value"] == ":defer: 4.2.2 Full"
    assert shown["stores"][1] == {
        "store": "store2",
        "statuses": {"jane@a.org": "near"},
        "state": "lapsed",
        "silence": None,
        "publisher": "be:1",
        "problem": None,
    }
    assert shown["problems"] == []
