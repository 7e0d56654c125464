"""cyrusquota-mirror without its options: what becomes of stores in the map of an MX."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Optional

import attrs
import pytest

from cyrusquota import publish
from cyrusquota.cli.map_options import MapOptions
from cyrusquota.cli.mirror import Mirroring
from cyrusquota.cli.on_change import ChangeCommand
from cyrusquota.cli.service import ServiceMap
from cyrusquota.engine import report
from cyrusquota.engine.publisher import StorePublisher
from cyrusquota.engine.report import MirrorReport, StoreReport
from cyrusquota.errors import ForeignMap
from cyrusquota.follow import FollowPublisher, Notices
from cyrusquota.maps import FORMATS, KeyForm
from cyrusquota.maps.installed import installed_map
from cyrusquota.maps.status import NEAR, OVER, free
from cyrusquota.maps.values import MapValues
from cyrusquota.publish.guard import Limits
from cyrusquota.publish.map_publisher import MapPublisher
from tests.simulated_engine import Server, SimulatedEngine

DEFERRED = b":defer: 4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."


@attrs.define
class Hosts:
    """An engine, a mirror with a map, and publishers, by a clock of their own."""

    path: Path
    now: float = 1000.0
    server: Server = attrs.field(factory=Server)
    publishers: dict[str, StorePublisher] = attrs.field(factory=dict)
    engine: SimulatedEngine = attrs.field(init=False)
    mirroring: Optional[Mirroring] = None
    said: list[str] = attrs.field(factory=list)

    def publish(self, store: str, entries: dict[bytes, bytes]) -> None:
        if store not in self.publishers:
            self.publishers[store] = StorePublisher(
                SimulatedEngine(self.server),
                store,
                notices=Notices(self.said.append, lambda line: None),
                holder=f"{store}:1",
                clock=lambda: self.now,
            )
        self.publishers[store].publish(entries)

    def mirror(
        self,
        values: Optional[MapValues] = None,
        key: KeyForm = KeyForm.AUTO,
        exempt: tuple[str, ...] = (),
        expect: tuple[str, ...] = (),
    ) -> None:
        values = values or MapValues(FORMATS["lsearch"])
        notices = Notices(self.said.append, lambda line: None)
        maps = MapPublisher(str(self.path), values.format, publish.Ownership(0o644))
        self.engine = SimulatedEngine(self.server)
        self.mirroring = Mirroring(
            self.engine,
            ServiceMap(
                FollowPublisher(maps, limits=None),
                ChangeCommand((), self.said.append),
                notices,
            ),
            MapOptions(values, key, exempt, Limits(None, None)),
            notices,
            expect,
            lambda: self.now,
        )

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            due = [publisher.step() for publisher in self.publishers.values()]
            if self.mirroring is not None:
                due.append(self.mirroring.step())
            self.now += max(0.05, min(due))

    def value(self, key: str) -> Optional[bytes]:
        return installed_map(self.path).value(key)

    def keys(self) -> set[bytes]:
        return installed_map(self.path).keys


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path / "overquota")


def test_a_backend_that_knows_no_domains_does_not_end_a_map_of_addresses(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@example.org": OVER})
    hosts.publish("store2", {b"max@": OVER, b"kate@": OVER, b"joe@example.org": OVER})
    hosts.mirror(key=KeyForm.ADDRESS)
    hosts.run(30)
    assert hosts.keys() == {b"jane@example.org", b"joe@example.org"}
    (said,) = hosts.said
    assert "no domain is known for 2 users" in said
    assert report.load(report.place(hosts.path)).without_domain == 2
    # They are listed as soon as their domain is known, and what is told then is told again.
    known = {b"max@example.org": OVER, b"kate@example.org": OVER, b"joe@example.org": OVER}
    hosts.publish("store2", known)
    hosts.run(5)
    assert hosts.keys() == {b"jane@example.org", *known}
    assert report.load(report.place(hosts.path)).without_domain == 0
    hosts.publish("store2", {**known, b"ken@": OVER})
    hosts.run(5)
    assert hosts.keys() == {b"jane@example.org", *known}
    assert "no domain is known for 1 user," in hosts.said[-1]
    assert len(hosts.said) == 2


def test_the_map_has_the_users_of_all_stores(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@example.org": OVER, b"joe@example.org": NEAR})
    hosts.publish("store2", {b"max@": OVER})
    hosts.mirror()
    hosts.run(30)
    assert hosts.keys() == {b"jane@example.org", b"joe@example.org", b"max"}
    assert hosts.value("jane@example.org") == DEFERRED
    header = installed_map(hosts.path).header
    assert (header.program, header.source, header.stores) == (
        "cyrusquota-mirror",
        "simulated:",
        2,
    )
    assert (header.entries, header.near) == (3, 1)
    hosts.publish("store2", {b"max@": OVER, b"sue@": OVER})
    hosts.run(2)
    assert hosts.value("sue") == DEFERRED
    assert hosts.mirroring is not None
    assert hosts.mirroring.summary == "2 of 2 stores fresh, 4 entries"
    assert hosts.said == []


def test_the_text_is_that_of_the_mx(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER, b"joe@a.org": NEAR, b"max@a.org": free(7)})
    hosts.mirror(MapValues(FORMATS["cdb"], "552 5.2.2 Too much", refuse=True), KeyForm.LOCAL)
    hosts.run(30)
    assert hosts.value("jane") == b":fail: 552 5.2.2 Too much"
    assert hosts.value("joe") == DEFERRED
    assert hosts.value("max") == b"free=7"


def test_who_is_exempt_on_the_mx_is_not_listed(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER, b"joe@a.org": OVER, b"postmaster@a.org": OVER})
    hosts.mirror(exempt=("joe",))
    hosts.run(30)
    assert hosts.keys() == {b"jane@a.org"}


def test_a_map_for_postfix_leaves_out_who_has_room(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER, b"max@a.org": free(7)})
    hosts.mirror(MapValues(FORMATS["postfix"]))
    hosts.run(30)
    assert hosts.keys() == {b"jane@a.org"}


def test_users_of_a_backend_that_died_are_not_deferred_for_long(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER})
    hosts.publish("store2", {b"max@a.org": OVER})
    hosts.mirror()
    hosts.run(30)
    del hosts.publishers["store2"]
    hosts.run(80)
    assert hosts.keys() == {b"jane@a.org"}
    assert "store store2" in hosts.said[-1]


def test_without_the_engine_the_map_empties_and_gets_old(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER})
    hosts.mirror()
    hosts.run(30)
    hosts.engine.is_cut = True
    hosts.run(80)
    assert hosts.keys() == set()
    os.utime(hosts.path, (1, 1))
    hosts.run(100)
    assert hosts.path.stat().st_mtime == 1
    hosts.engine.is_cut = False
    hosts.run(60)
    assert hosts.keys() == {b"jane@a.org"}


def test_a_map_is_renewed_while_a_store_is_written(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER})
    hosts.mirror()
    hosts.run(30)
    os.utime(hosts.path, (1, 1))
    hosts.run(40)
    assert hosts.path.stat().st_mtime > 1


def test_after_a_start_the_map_in_place_stays_until_the_stores_are_there(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER})
    hosts.publish("store2", {b"max@a.org": OVER})
    hosts.mirror()
    hosts.run(30)
    before = hosts.path.read_bytes()
    late = hosts.publishers.pop("store2")
    hosts.mirror(expect=("store1", "store2"))
    hosts.run(20)
    assert hosts.path.read_bytes() == before
    hosts.publishers["store2"] = late
    hosts.publish("store2", {})
    hosts.run(30)
    assert hosts.keys() == {b"jane@a.org"}


def test_a_store_that_never_comes_is_not_waited_for(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER})
    hosts.mirror(expect=("store1", "gone"))
    hosts.run(50)
    assert not hosts.path.exists()
    hosts.run(20)
    assert hosts.keys() == {b"jane@a.org"}
    assert "store gone" in hosts.said[0]


# The report for others on the host


def _states(hosts: Hosts) -> dict[str, str]:
    found = report.load(report.place(hosts.path))
    return {store.store: store.state for store in found.stores}


def test_others_on_the_host_see_each_store(hosts: Hosts) -> None:
    hosts.publish("store1", {b"jane@a.org": OVER, b"max@a.org": OVER})
    hosts.publish("store2", {b"max@a.org": OVER})
    hosts.mirror(expect=("store1", "store3"))
    hosts.run(70)
    assert _states(hosts) == {"store1": "fresh", "store2": "fresh", "store3": "missing"}
    found = report.load(report.place(hosts.path))
    first, _, last = found.stores
    assert (found.engine, found.claimed_twice, found.is_current) == ("simulated:", 1, True)
    assert (first.entries, first.publisher, first.expected) == (2, "store1:1", True)
    assert first.silence is not None and first.silence <= 10
    assert (last.entries, last.silence, last.problem) == (
        0,
        None,
        "is not there; nobody has published it",
    )
    del hosts.publishers["store2"]
    hosts.run(80)
    assert _states(hosts)["store2"] == "lapsed"


def test_it_is_renewed_although_nothing_changes(hosts: Hosts) -> None:
    hosts.mirror()
    hosts.run(2)
    path = Path(report.place(hosts.path))
    path.unlink()
    hosts.run(40)
    assert path.exists()


def _report(**members: object) -> bytes:
    """A report without stores, but for these members."""
    whole = json.loads(MirrorReport("redis://host", 1, 0, 0, []).content())
    return json.dumps({**whole, **members}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        _report(version=2),
        _report(written="x"),
        _report(claimed_twice=float("inf")),
        _report(without_domain=None),
        _report(stores=[1]),
        _report(stores=[{}]),
        b"[" * 100_000,
    ],
)
def test_any_other_file_is_no_report(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report").write_bytes(content)
    with pytest.raises(ForeignMap, match="expected the report of a mirror"):
        report.load(tmp_path / "report")


def test_a_report_without_stores_is_one(tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(_report())
    assert report.load(tmp_path / "report").stores == []


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    stores = [
        StoreReport("a", "fresh", True, 1.5, 3, "be:1", None),
        StoreReport("b", "missing", False, None, 0, None, "is not there"),
    ]
    wanted = MirrorReport("redis://host", 1790000000.25, 2, 1, stores)
    (tmp_path / "report").write_bytes(wanted.content())
    found = report.load(tmp_path / "report")
    assert found == wanted
    assert found.age(1790000010.25) == 10
    assert not found.is_current
